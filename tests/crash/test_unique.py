"""Processes that enqueue unique jobs at the same time, or are killed while a lock is theirs: no key is stuck."""

from __future__ import annotations

import signal

import pytest
from sqlalchemy import text

from tests.crash.test_kills import Site, expected, finish
from tests.crash.test_kills import site as site
from tests.crash.worker import exit_code, start_python

pytestmark = [pytest.mark.slow, pytest.mark.spread, pytest.mark.timeout(120)]

KEYS = 30
ENQUEUE = (
    "from tests.crash.app import *\n"
    "with Current.set(tenant_id='acme'):\n"
    "    print([unique_effect.perform_later(number).enqueued for number in {numbers}])\n"
)


def in_queue(site: Site) -> tuple[int, int]:
    """How many jobs there are, and how many locks."""
    with site.engine.connect() as connection:
        jobs, locks = (connection.execute(text(f"SELECT count(*) FROM {table}")) for table in ("tj_jobs", "tj_locks"))
        return int(jobs.scalar_one()), int(locks.scalar_one())


def test_of_processes_that_enqueue_the_same_keys_at_once_one_gets_each(site: Site) -> None:
    site.prepare(jobs=0)
    numbers = f"range({KEYS})"
    processes = [
        start_python(site.environment, ENQUEUE.format(numbers=order))
        for order in (numbers, f"reversed({numbers})", numbers)
    ]

    assert [exit_code(process) for process in processes] == [0, 0, 0]
    assert in_queue(site) == (KEYS, KEYS)


def test_a_process_that_is_killed_while_it_enqueues_leaves_the_key_free(site: Site) -> None:
    site.prepare(jobs=0)
    dies = (
        "import os, signal\nfrom sqlalchemy import event\nfrom tenantjobs import adapter\n"
        "def die(_connection, _cursor, statement, *_):\n"
        "    if 'INSERT INTO tj_jobs' in statement: os.kill(os.getpid(), signal.SIGKILL)\n"
        "event.listen(adapter.configured().database.engine, 'before_cursor_execute', die)\n"
    )

    assert exit_code(start_python(site.environment, dies + ENQUEUE.format(numbers="[1]"))) == -signal.SIGKILL
    assert in_queue(site) == (0, 0)


@pytest.mark.parametrize("point", ["after_claim", "after_effect", "after_commit"])
def test_a_worker_that_is_killed_with_a_lock_leaves_it_to_the_next_who_frees_it(site: Site, point: str) -> None:
    site.prepare(jobs=3, job="unique_effect")
    killed = site.worker("--threads", "1", TENANTJOBS_FAULT=f"{point}:2")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    finish(site)

    assert site.effects() == expected(3)
    assert in_queue(site) == (3, 0)

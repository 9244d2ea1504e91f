"""Processes are killed between the commit of a job and its publication: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tenantjobs import faults
from tests.crash.worker import exit_code, start_python, start_worker

pytestmark = [pytest.mark.slow, pytest.mark.spread, pytest.mark.timeout(120)]

PLACE = """
from tests.crash.app import *
for number in range({orders}):
    with Current.set(tenant_id="acme"), Session.begin() as session:
        session.add(Order(number=number))
        {job}.perform_later(number)
"""
DIES_BEFORE_PUBLISHING = """
from tenantjobs_db.outbox import DatabaseOutbox
DatabaseOutbox.publish = lambda *_: None
"""


class Site:
    """The application's database with the outbox, and a queue in a file of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.environment = {
            "TENANTJOBS_CRASH_URL": url,
            "TENANTJOBS_ADAPTER": "db",
            "TENANTJOBS_APP": "tests.crash.app",
            "TENANTJOBS_OUTBOX": "true",
            "TENANTJOBS_DB_ENGINE": "tests.crash.app:engine",
            "TENANTJOBS_DB_URL": f"sqlite:///{folder}/queue.db",
            "TENANTJOBS_DB_LEASE": "1",
        }
        self.application = create_engine(url)
        self.queue = create_engine(self.environment["TENANTJOBS_DB_URL"])
        self.python(
            "from tests.crash.app import *; from tenantjobs import adapter; from tenantjobs_db import schema\n"
            "Base.metadata.create_all(engine); schema.upgrade(engine); adapter.configured().queue.counts()"
        )

    def python(self, code: str, fault: str = "") -> int | None:
        return exit_code(start_python(self.environment | {"TENANTJOBS_FAULT": fault}, code))

    def worker(self, fault: str = "") -> BaseProcess:
        return start_worker(self.environment | {"TENANTJOBS_FAULT": fault}, "--polling-interval", "0.02")

    def work_until_done(self, orders: int) -> None:
        worker = self.worker()
        try:
            until = time.monotonic() + 30
            while len(self.effects()) < orders or self.unpublished() or self.unfinished():
                assert time.monotonic() < until, (self.effects(), self.unpublished(), self.unfinished())
                time.sleep(0.05)
        finally:
            worker.terminate()
        assert exit_code(worker) == 0

    def numbers(self, engine: object, query: str) -> list[int]:
        with engine.connect() as connection:  # type: ignore[attr-defined]  # an engine
            return list(connection.scalars(text(query)))

    def orders(self) -> list[int]:
        return self.numbers(self.application, "SELECT number FROM orders ORDER BY number")

    def effects(self) -> list[int]:
        return self.numbers(self.application, "SELECT number FROM effects ORDER BY number")

    def unpublished(self) -> int:
        return self.numbers(self.application, "SELECT count(*) FROM tj_outbox")[0]

    def unfinished(self) -> int:
        return self.numbers(self.queue, "SELECT count(*) FROM tj_jobs WHERE state <> 'finished'")[0]

    def jobs(self) -> int:
        return self.numbers(self.queue, "SELECT count(*) FROM tj_jobs")[0]


@pytest.fixture
def site(url: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(url, tmp_path)
    yield site
    site.application.dispose()
    site.queue.dispose()


@pytest.mark.parametrize("point", faults.OUTBOX_POINTS)
def test_who_enqueued_is_killed_after_the_commit(site: Site, point: str) -> None:
    assert site.python(PLACE.format(orders=5, job="effect"), fault=f"{point}:3") == -signal.SIGKILL
    assert site.orders() == [0, 1, 2]
    assert site.unpublished() == 1
    assert site.jobs() == {"before_publish": 2, "after_publish": 3}[point]

    site.work_until_done(orders=3)

    assert site.effects() == [0, 1, 2]
    assert site.jobs() == 3


@pytest.mark.parametrize("point", faults.OUTBOX_POINTS)
def test_a_relay_is_killed_and_another_takes_over(site: Site, point: str) -> None:
    assert site.python(DIES_BEFORE_PUBLISHING + PLACE.format(orders=5, job="effect")) == 0
    assert (site.unpublished(), site.jobs()) == (5, 0)

    assert exit_code(site.worker(fault=point)) == -signal.SIGKILL
    assert site.unpublished() == 5

    site.work_until_done(orders=5)

    assert site.effects() == [0, 1, 2, 3, 4]
    assert site.jobs() == 5


@pytest.mark.parametrize("point", ["after_effect", "before_commit", "after_commit", "before_acknowledge"])
def test_a_worker_of_a_queue_elsewhere_is_killed_and_the_inbox_knows(site: Site, point: str) -> None:
    assert site.python(PLACE.format(orders=5, job="transactional_effect")) == 0
    assert exit_code(site.worker(fault=f"{point}:2")) == -signal.SIGKILL

    site.work_until_done(orders=5)

    assert site.effects() == [0, 1, 2, 3, 4]
    assert site.numbers(site.application, "SELECT count(*) FROM tj_inbox") == [5]


def test_who_enqueued_is_killed_before_the_commit(site: Site) -> None:
    dies = "import os, signal\nfrom sqlalchemy import event\n"
    dies += "from tests.crash.app import Session as S\n"
    dies += "event.listen(S, 'before_commit', lambda session: os.kill(os.getpid(), signal.SIGKILL))\n"

    assert site.python(dies + PLACE.format(orders=2, job="effect")) == -signal.SIGKILL
    assert (site.orders(), site.unpublished(), site.jobs()) == ([], 0, 0)

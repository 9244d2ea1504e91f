"""Workers are killed at every named point and at random moments; nothing is lost, and no effect is doubled."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest
from sqlalchemy import create_engine, text

from tenantjobs import faults
from tests.crash.worker import exit_code, start_python, start_worker
from tests.stress import STRESS

pytestmark = [pytest.mark.slow, pytest.mark.spread, pytest.mark.timeout(240)]

TENANTS = ("acme", "globex", "initech")
KILLS = 100 if STRESS else 30
AROUND_THE_COMMIT = ("after_effect", "before_commit", "after_commit", "before_acknowledge")


class Site:
    """A database with the application's tables and the queue's, and processes that work on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {
            "TENANTJOBS_CRASH_URL": url,
            "TENANTJOBS_ADAPTER": "db",
            "TENANTJOBS_APP": "tests.crash.app",
            "TENANTJOBS_DB_ENGINE": "tests.crash.app:engine",
            "TENANTJOBS_DB_LEASE": "1",
            "TENANTJOBS_DB_MAX_DEATHS": "1000",
        }
        self.engine = create_engine(url)

    def prepare(self, jobs: int, job: str = "effect") -> None:
        """Make the tables and enqueue ``jobs`` jobs, some of each tenant, each in a transaction of its own."""
        self.python(
            "from tests.crash.app import *; from tenantjobs_db import schema; import tenantjobs\n"
            "Base.metadata.create_all(engine); schema.upgrade(engine)\n"
            f"for number in range({jobs}):\n"
            f"    with Current.set(tenant_id={TENANTS!r}[number % 3]), Session.begin() as session:\n"
            f"        {job}.perform_later(number)\n"
        )

    def python(self, code: str) -> None:
        assert exit_code(start_python(self.environment, code)) == 0

    def worker(self, *options: str, **environment: str) -> BaseProcess:
        return start_worker(self.environment | environment, "--polling-interval", "0.02", *options)

    def unfinished(self) -> int:
        with self.engine.connect() as connection:
            query = text("SELECT count(*) FROM tj_jobs WHERE state NOT IN ('finished', 'discarded')")
            return int(connection.execute(query).scalar_one())

    def wait_until_done(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.unfinished():
            assert time.monotonic() < until, self.states()
            time.sleep(0.05)

    def states(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT state, count(*) AS jobs FROM tj_jobs GROUP BY state"))
            return {row.state: row.jobs for row in rows}

    def effects(self) -> Counter[tuple[int, str]]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT number, tenant FROM effects"))
            return Counter((row.number, row.tenant) for row in rows)


@pytest.fixture
def site(url: str) -> Iterator[Site]:
    site = Site(url)
    yield site
    site.engine.dispose()


def expected(jobs: int) -> Counter[tuple[int, str]]:
    return Counter((number, TENANTS[number % 3]) for number in range(jobs))


@pytest.mark.parametrize("point", faults.POINTS)
def test_a_worker_killed_at_a_named_point_loses_nothing_and_doubles_nothing(site: Site, point: str) -> None:
    site.prepare(jobs=12)
    # Single file and at the third passage: some jobs are done, one is in the gap, some are untouched.
    killed = site.worker("--threads", "1", TENANTJOBS_FAULT=f"{point}:3")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    finish(site)

    assert site.effects() == expected(12)
    assert site.states() == {"finished": 12}


@pytest.mark.parametrize("point", AROUND_THE_COMMIT)
def test_a_transactional_job_is_done_exactly_when_its_effect_is_there(site: Site, point: str) -> None:
    site.prepare(jobs=6, job="transactional_effect")
    killed = site.worker("--threads", "1", TENANTJOBS_FAULT=f"{point}:3")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    done = site.states()["finished"]
    assert site.effects() == expected(done)
    if point == "before_acknowledge":  # the next one runs meanwhile
        assert done >= 3
    else:
        assert done == {"after_effect": 2, "before_commit": 2}.get(point, 3)

    finish(site)

    assert site.effects() == expected(6)
    assert site.states() == {"finished": 6}


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_an_async_one_is_too(site: Site, point: str) -> None:
    site.environment["TENANTJOBS_DB_ENGINE"] = "tests.crash.app:async_engine"
    site.prepare(jobs=6, job="async_effect")
    killed = site.worker("--threads", "1", TENANTJOBS_FAULT=f"{point}:3")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    done = len(site.effects())
    assert site.states().get("finished", 0) == done

    finish(site)

    assert site.effects() == expected(6)
    assert site.states() == {"finished": 6}


@pytest.mark.parametrize("point", AROUND_THE_COMMIT)
def test_an_effect_behind_once_happens_once(site: Site, point: str) -> None:
    site.prepare(jobs=6, job="guarded_effect")
    killed = site.worker("--threads", "1", TENANTJOBS_FAULT=f"{point}:3")

    assert exit_code(killed) == -signal.SIGKILL, f"no worker passed {point}"

    finish(site)

    assert site.effects() == expected(6)
    assert site.states() == {"finished": 6}


def finish(site: Site) -> None:
    """Let another worker do what is left."""
    survivor = site.worker("--threads", "2")
    try:
        site.wait_until_done(30)
    finally:
        survivor.terminate()
    assert exit_code(survivor) == 0


@pytest.mark.parametrize(
    ("moment", "committed"), [("S, 'before_commit'", 0), ("engine, 'commit'", 0), ("S, 'after_commit'", 1)]
)
def test_who_enqueues_in_the_transaction_is_killed_and_job_and_row_share_a_fate(
    site: Site, moment: str, committed: int
) -> None:
    site.prepare(jobs=0)
    dies = (
        "import os, signal\nfrom sqlalchemy import event\nfrom tests.crash.app import *\nS = Session.class_\n"
        f"event.listen({moment}, lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
        "with Current.set(tenant_id='acme'), Session.begin() as session:\n"
        "    session.add(Order(number=1)); effect.perform_later(1)\n"
    )
    assert exit_code(start_python(site.environment, dies)) == -signal.SIGKILL

    with site.engine.connect() as connection:
        orders = connection.execute(text("SELECT count(*) FROM orders")).scalar_one()
    assert (orders, sum(site.states().values())) == (committed, committed)


def test_kills_at_random_moments_lose_nothing_and_double_nothing(site: Site) -> None:
    jobs, kills = 6 * KILLS, 0
    site.prepare(jobs)
    moment = random.Random(7)
    workers = [site.worker("--threads", "3") for _ in range(2)]
    deadline = time.monotonic() + 180
    try:
        while kills < KILLS or site.unfinished():
            assert time.monotonic() < deadline, (kills, site.states())
            time.sleep(moment.uniform(0.02, 0.25))
            if kills < KILLS:
                victim = workers.pop(0)
                victim.kill()
                victim.join()
                kills += 1
                workers.append(site.worker("--threads", "3"))
                if not site.unfinished():  # keep them busy while the kills last
                    jobs = _more(site, jobs)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(15)

    assert kills == KILLS
    assert site.effects() == expected(jobs)
    assert site.states() == {"finished": jobs}


def _more(site: Site, jobs: int) -> int:
    more = 300
    site.python(
        "from tests.crash.app import *\n"
        f"for number in range({jobs}, {jobs + more}):\n"
        f"    with Current.set(tenant_id={TENANTS!r}[number % 3]), Session.begin() as session:\n"
        "        effect.perform_later(number)\n"
    )
    return jobs + more


def test_a_doubled_effect_would_show(site: Site) -> None:
    site.prepare(jobs=0)
    for _ in range(2):
        site.python("from tests.crash.app import *\nwith Session.begin() as s: s.add(Effect(number=0, tenant='acme'))")

    assert site.effects() == {(0, "acme"): 2}

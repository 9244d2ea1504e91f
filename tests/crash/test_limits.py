"""Workers are killed while they hold permits: never do more run than may, and nothing waits for a dead one for long."""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.crash.test_kills import TENANTS
from tests.crash.worker import exit_code, start_python, start_worker
from tests.services import BROKERS, empty_mariadb, empty_postgres, require
from tests.tenantjobs_dramatiq import servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

AT_ONCE = 2  # of each tenant, as the job says
DURATION = 2.0
KILLS = 6


class Site:
    """A database with the spans of time in which jobs ran, a queue, and workers that may be killed."""

    def __init__(self, url: str, queue: Mapping[str, str]) -> None:
        self.environment = {
            "TENANTJOBS_CRASH_URL": url,
            "TENANTJOBS_APP": "tests.crash.app",
            "TENANTJOBS_DB_ENGINE": "tests.crash.app:engine",
            "TENANTJOBS_DB_LEASE": "1",
            "TENANTJOBS_DB_MAX_DEATHS": "1000",
            **queue,
        }
        self.polls = queue["TENANTJOBS_ADAPTER"] == "db"
        self.engine = create_engine(url)
        self.killed: dict[int, float] = {}
        self.python(
            "from tests.crash.app import *; from tenantjobs_db import schema\n"
            "Base.metadata.create_all(engine); schema.upgrade(engine)"
        )

    def python(self, code: str) -> None:
        assert exit_code(start_python(self.environment, code)) == 0

    def enqueue(self, jobs: int, tenants: int, job: str = "limited_effect") -> None:
        self.python(
            "from tests.crash.app import *\n"
            f"for number in range({jobs}):\n"
            f"    with Current.set(tenant_id={TENANTS!r}[number % {tenants}]):\n"
            f"        {job}.perform_later(number)\n"
        )

    def worker(self, **environment: str) -> BaseProcess:
        polling = ("--polling-interval", "0.02") if self.polls else ()
        return start_worker(self.environment | environment, "--threads", "4", *polling)

    def kill(self, worker: BaseProcess) -> None:
        worker.kill()
        worker.join()
        assert worker.pid is not None
        self.killed[worker.pid] = time.time()

    def spans(self) -> list[tuple[int, str, float, float]]:
        """Number, tenant, start, and end; that of a killed worker's is the moment at which it was certainly dead."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT * FROM spans ORDER BY started_at")).all()
        return [
            (row.number, row.tenant, row.started_at, row.ended_at or self.killed.get(row.pid, time.time()))
            for row in rows
        ]

    def numbers(self, table: str) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(f"SELECT number FROM {table} ORDER BY id")).scalars())

    def ended(self) -> set[int]:
        with self.engine.connect() as connection:
            return set(connection.execute(text("SELECT number FROM spans WHERE ended_at IS NOT NULL")).scalars())

    def wait_until_ended(self, jobs: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        while len(self.ended()) < jobs:
            assert time.monotonic() < until, set(range(jobs)) - self.ended()
            time.sleep(0.05)

    def most_at_once(self) -> dict[str, int]:
        most = {}
        for tenant in TENANTS:
            spans = [span for span in self.spans() if span[1] == tenant]
            at_each_start = [sum(start <= moment < end for _, _, start, end in spans) for _, _, moment, _ in spans]
            most[tenant] = max(at_each_start, default=0)
        return most

    def left(self, table: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("dramatiq", marks=pytest.mark.services),
    ]
)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """The queue in the database; or on RabbitMQ, which delivers the jobs of a killed worker again at once."""
    name = f"tj{uuid.uuid4().hex[:10]}"
    url, queue = f"sqlite:///{tmp_path / 'test.db'}", {"TENANTJOBS_ADAPTER": "db"}
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb")
        empty_mariadb(url)
    elif request.param != "sqlite":
        url = request.getfixturevalue("server")
        empty_postgres(url)
    if request.param == "dramatiq":
        require("RabbitMQ")
        queue = {
            "TENANTJOBS_ADAPTER": "dramatiq",
            "TENANTJOBS_DRAMATIQ_BROKER": "tests.tenantjobs_dramatiq.contract_broker:broker",
            "TENANTJOBS_DRAMATIQ_PREFIX": f"{name}.",
            "CONTRACT_BROKER": BROKERS["RabbitMQ"],
            "CONTRACT_NAME": name,
        }
    site = Site(url, queue)
    yield site
    site.engine.dispose()
    if request.param == "dramatiq":
        servers.remove(name, f"{name}.default")


def test_while_workers_are_killed_no_more_run_than_may_and_all_end(site: Site) -> None:
    jobs = 60
    site.enqueue(jobs, tenants=3)
    workers = [site.worker() for _ in range(3)]
    for _ in range(KILLS):
        time.sleep(random.uniform(0.3, 0.6))
        site.kill(workers.pop(0))
        workers.append(site.worker())
    try:
        site.wait_until_ended(jobs, 60)
    finally:
        for worker in workers:
            worker.terminate()
        codes = [exit_code(worker) for worker in workers]

    assert codes == [0, 0, 0]
    assert max(site.most_at_once().values()) == AT_ONCE
    assert site.left("tj_blocked") == 0


def test_what_waits_for_a_dead_worker_starts_when_its_lease_is_over(site: Site) -> None:
    site.enqueue(jobs=5, tenants=1)
    holder = site.worker(TENANTJOBS_CRASH_HOLDS="0")
    until = time.monotonic() + 20
    while len(site.ended()) < 4:  # the others go past the one that holds
        assert time.monotonic() < until
        time.sleep(0.02)
    site.enqueue(jobs=5, tenants=1)
    site.kill(holder)
    survivor = site.worker()
    try:
        site.wait_until_ended(5, 20)
    finally:
        survivor.terminate()

    assert exit_code(survivor) == 0
    (killed_at,) = site.killed.values()
    again = [start for number, _, start, _ in site.spans() if number == 0 and start > killed_at]
    assert min(again) - killed_at < DURATION + 6  # and the survivor has to start, and to ask
    assert max(site.most_at_once().values()) <= AT_ONCE


def test_what_a_stopped_worker_has_done_past_its_lease_is_rolled_back_and_done_again(site: Site) -> None:
    if site.engine.dialect.name == "sqlite":
        pytest.skip("a process that is stopped may have the lock of the file, and then nobody writes")
    stopped = site.worker()
    site.enqueue(jobs=1, tenants=1, job="paused_effect")
    wait_for(lambda: site.numbers("spans") == [0])
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    survivor = site.worker()
    try:
        site.enqueue(jobs=8, tenants=1, job="paused_effect")  # a broker gives some of them to the one that is stopped
        wait_for(lambda: bool(site.numbers("effects")))
        os.kill(stopped.pid, signal.SIGCONT)
        wait_for(lambda: len(site.numbers("effects")) == 9)
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
        for worker in (stopped, survivor):
            worker.terminate()
        codes = [exit_code(worker) for worker in (stopped, survivor)]

    assert codes == [0, 0]
    assert sorted(site.numbers("effects")) == [0, *range(8)]
    assert site.numbers("spans").count(0) == 3, "the first execution of the first job was in vain"


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)

"""A supervisor and its processes are stopped and killed in every way: nothing is lost, and nothing doubled."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from tests.crash.worker import exit_code, start_python, start_worker
from tests.tenantjobs_db.making import free_port
from tests.tenantjobs_db.test_health import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Site:
    """A database, a supervisor that works on it, and a gate that holds its jobs back."""

    def __init__(self, url: str, folder: Path) -> None:
        self.gate = folder / "gate"
        self.environment = {
            "TENANTJOBS_CRASH_URL": url,
            "TENANTJOBS_CRASH_GATE": str(self.gate),
            "TENANTJOBS_ADAPTER": "db",
            "TENANTJOBS_APP": "tests.crash.app",
            "TENANTJOBS_DB_ENGINE": "tests.crash.app:engine",
            "TENANTJOBS_DB_LEASE": "600",  # so that whatever is brought back in time is not brought back by its end
        }
        self.engine = create_engine(url)
        self.supervisor: BaseProcess | None = None
        self.python("from tenantjobs_db import schema\nBase.metadata.create_all(engine); schema.upgrade(engine)")

    def python(self, code: str) -> None:
        assert exit_code(start_python(self.environment, f"from tests.crash.app import *\n{code}")) == 0

    def enqueue(self, *numbers: int, job: str = "held_effect", wait: float = 0) -> None:
        self.python(
            f"for number in {numbers!r}:\n"
            f"    with Current.set(tenant_id='acme'):\n"
            f"        {job}.set(wait={wait}).perform_later(number)\n"
        )

    def start(self, *options: str, workers: int = 1) -> BaseProcess:
        self.supervisor = start_worker(self.environment, "--polling-interval", "0.02", *options)
        wait_for(lambda: len(self.pids("worker")) == workers and len(self.pids("dispatcher")) == 1)
        return self.supervisor

    def pids(self, kind: str) -> list[int]:
        """The processes of a kind that are at work."""
        return [int(pid) for pid in self.column(f"SELECT pid FROM tj_processes WHERE kind = '{kind}'")]

    def states(self) -> dict[str, int]:
        return dict(Counter(self.column("SELECT state FROM tj_jobs")))

    def effects(self) -> list[int]:
        return sorted(self.column("SELECT number FROM effects"))

    def runs(self) -> list[int]:
        """The number of each execution that has started."""
        return sorted(self.column("SELECT number FROM spans"))

    def column(self, query: str) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)).scalars())

    def close(self) -> None:
        everybody = [
            psutil.Process(pid)
            for kind in ("worker", "dispatcher", "scheduler")
            for pid in self.pids(kind)
            if alive(pid)
        ]
        if self.supervisor is not None:
            self.supervisor.kill()
        for process in everybody:
            process.kill()
        self.engine.dispose()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)
    yield site
    site.close()


@pytest.fixture
def any_site(url: str, tmp_path: Path) -> Iterator[Site]:
    """The same on each database."""
    site = Site(url, tmp_path)
    yield site
    site.close()


@pytest.mark.parity("1b.22")
def test_the_job_of_a_killed_worker_is_done_by_its_successor_at_once(any_site: Site) -> None:
    site = any_site
    site.start("--processes", "1")
    (worker,) = site.pids("worker")
    site.enqueue(1)
    wait_for(lambda: site.runs() == [1])

    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: site.runs() == [1, 1])  # long before its lease is over
    site.gate.touch()
    wait_for(lambda: site.states() == {"finished": 1})

    assert site.effects() == [1]
    assert worker not in site.pids("worker")
    assert site.column("SELECT deaths FROM tj_jobs") == [1]


@pytest.mark.parity("1b.10", "1b.22")
def test_a_killed_dispatcher_is_replaced_and_jobs_become_due(any_site: Site) -> None:
    site = any_site
    site.start("--processes", "1")
    (dispatcher,) = site.pids("dispatcher")
    site.gate.touch()

    os.kill(dispatcher, signal.SIGKILL)
    site.enqueue(1, wait=1)

    wait_for(lambda: site.states() == {"finished": 1})
    assert site.pids("dispatcher") not in ([], [dispatcher])


@pytest.mark.parity("1b.23")
def test_processes_finish_what_runs_and_end_when_their_supervisor_is_killed(site: Site) -> None:
    supervisor = site.start("--processes", "1", "--shutdown-timeout", "60")
    pids = site.pids("worker") + site.pids("dispatcher")
    site.enqueue(1)
    wait_for(lambda: site.runs() == [1])

    supervisor.kill()
    wait_for(lambda: site.pids("dispatcher") == [])  # it has noticed; the worker has as well
    site.enqueue(2)
    site.gate.touch()
    wait_for(lambda: not any(map(alive, pids)))

    assert (site.effects(), site.states()) == ([1], {"finished": 1, "ready": 1})
    assert site.pids("worker") == []


@pytest.mark.parity("1b.22")
def test_workers_that_are_recycled_under_load_lose_nothing_and_double_nothing(site: Site, tmp_path: Path) -> None:
    plan = tmp_path / "queue.yml"
    plan.write_text(
        "development:\n"
        "  dispatchers: [{polling_interval: 0.1}]\n"
        "  workers: [{queues: [default], threads: 2, processes: 2, polling_interval: 0.02, max_jobs: 15}]\n"
    )
    site.environment["TENANTJOBS_DB_QUEUE_FILE"] = str(plan)
    site.gate.touch()
    site.enqueue(*range(60))
    site.supervisor = start_worker(site.environment)

    wait_for(lambda: site.states() == {"finished": 60})

    assert site.effects() == site.runs() == list(range(60))
    by_worker = Counter(site.column("SELECT pid FROM spans"))
    assert max(by_worker.values()) == 15
    assert len(by_worker) >= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parity("1b.23")
def test_a_supervisor_that_is_stopped_lets_jobs_finish(site: Site, number: signal.Signals) -> None:
    supervisor = site.start("--processes", "1", "--shutdown-timeout", "60")
    site.enqueue(1)
    wait_for(lambda: site.runs() == [1])

    os.kill(pid(supervisor), number)
    wait_for(lambda: site.pids("dispatcher") == [])
    site.gate.touch()

    assert exit_code(supervisor) == 0
    assert (site.effects(), site.states()) == ([1], {"finished": 1})
    assert site.column("SELECT pid FROM tj_processes") == []


@pytest.mark.parametrize("numbers", [(signal.SIGQUIT,), (signal.SIGTERM, signal.SIGTERM)])
@pytest.mark.parity("1b.21", "1b.23")
def test_a_supervisor_that_is_stopped_at_once_gives_back_what_runs(
    site: Site, numbers: tuple[signal.Signals, ...]
) -> None:
    supervisor = site.start("--processes", "1", "--shutdown-timeout", "60")
    site.enqueue(1)
    wait_for(lambda: site.runs() == [1])

    for number in numbers:
        os.kill(pid(supervisor), number)
        time.sleep(0.1)  # the same signal twice at once is one

    assert exit_code(supervisor) == 1
    assert (site.effects(), site.states()) == ([], {"ready": 1})
    assert site.column("SELECT deaths FROM tj_jobs") == [0]
    assert site.column("SELECT pid FROM tj_processes") == []


def test_a_worker_that_does_not_even_stop_at_once_is_killed_and_its_jobs_are_given_back(site: Site) -> None:
    supervisor = site.start("--processes", "1", "--shutdown-timeout", "0.1")
    (worker,) = site.pids("worker")
    site.enqueue(1)
    wait_for(lambda: site.runs() == [1])

    os.kill(worker, signal.SIGSTOP)
    for _ in range(4):
        os.kill(pid(supervisor), signal.SIGTERM)
        time.sleep(0.1)

    assert exit_code(supervisor) == 1
    assert site.states() == {"ready": 1}
    assert site.column("SELECT deaths FROM tj_jobs") == [0]


@pytest.mark.parity("1b.23")
def test_a_quiet_supervisor_claims_no_more_and_lets_what_runs_go_on(site: Site) -> None:
    supervisor = site.start("--processes", "2", workers=2)
    site.enqueue(1)
    wait_for(lambda: site.runs() == [1])

    os.kill(pid(supervisor), signal.SIGTSTP)
    (dispatcher,) = site.pids("dispatcher")
    time.sleep(0.5)  # nothing tells when the last worker has heard of it
    site.enqueue(2)
    site.enqueue(3, wait=0.01)
    site.gate.touch()
    wait_for(lambda: site.states() == {"finished": 1, "ready": 2})

    assert site.runs() == [1]
    assert (len(site.pids("worker")), site.pids("dispatcher")) == (2, [dispatcher])
    os.kill(pid(supervisor), signal.SIGTERM)
    assert exit_code(supervisor) == 0
    assert site.states() == {"finished": 1, "ready": 2}


@pytest.mark.parity("1b.24")
def test_a_process_whose_row_is_gone_stops_and_is_replaced(site: Site) -> None:
    site.environment["TENANTJOBS_DB_LEASE"] = "1"
    site.start("--processes", "1")
    (worker,) = site.pids("worker")

    with site.engine.begin() as connection:
        connection.execute(text("DELETE FROM tj_processes WHERE kind = 'worker'"))

    wait_for(lambda: not alive(worker))
    wait_for(lambda: site.pids("worker") not in ([], [worker]))


@pytest.mark.parity("1b.36")
def test_a_supervisor_and_its_processes_are_known_by_file_title_hooks_and_health(site: Site, tmp_path: Path) -> None:
    hooks, pidfile, port = tmp_path / "hooks", tmp_path / "work.pid", free_port()
    site.environment["TENANTJOBS_CRASH_HOOKS"] = str(hooks)
    supervisor = site.start("--processes", "1", "--pidfile", str(pidfile), "--health", str(port))
    wait_for(lambda: ask(port, "/ready")[0] == 200)
    (worker,) = site.pids("worker")
    (dispatcher,) = site.pids("dispatcher")

    assert pidfile.read_text() == f"{supervisor.pid}\n"
    assert [psutil.Process(each).cmdline()[0] for each in (pid(supervisor), worker, dispatcher)] == [
        "tenantjobs supervisor",
        "tenantjobs worker *",
        "tenantjobs dispatcher",
    ]
    os.kill(pid(supervisor), signal.SIGTSTP)
    wait_for(lambda: ask(port, "/ready") == (503, {"live": True, "ready": False, "reason": "it is quiet"}))
    assert ask(port, "/live")[0] == 200
    os.kill(pid(supervisor), signal.SIGTERM)
    assert exit_code(supervisor) == 0
    ran = [line.split()[:2] for line in hooks.read_text().splitlines()]
    for kind in ("supervisor", "worker", "dispatcher", "scheduler"):
        assert [moment for of, moment in ran if of == kind] == ["start", "stop", "exit"]
    assert not pidfile.exists()


def test_recurring_jobs_are_enqueued_by_a_process_of_their_own_that_is_replaced(site: Site, tmp_path: Path) -> None:
    schedule = tmp_path / "recurring.yml"
    schedule.write_text(
        'development: {often: {class: "tests.crash.app:held_effect", args: [1], every: 1s, system: "a test"}}\n'
    )
    site.environment |= {"TENANTJOBS_RECURRING": str(schedule), "TENANTJOBS_TENANCY": "optional"}
    site.gate.touch()
    site.start("--processes", "1")
    wait_for(lambda: len(site.pids("scheduler")) == 1 and len(site.effects()) >= 2)
    (scheduler,) = site.pids("scheduler")

    os.kill(scheduler, signal.SIGKILL)
    wait_for(lambda: site.pids("scheduler") not in ([], [scheduler]))
    before = len(site.effects())

    wait_for(lambda: len(site.effects()) > before)


def pid(process: BaseProcess) -> int:
    assert process.pid is not None
    return process.pid


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], bool], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)

"""A database with a queue, and the processes that work on it: supervisors with theirs, and producers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.torture.servers import Server

ROOT = Path(__file__).parents[2]
PLANS = {
    "main": "  dispatchers: [{polling_interval: 0.2}]\n"
    "  workers: [{queues: [default], threads: 4, processes: 2, polling_interval: 0.05}]\n",
    "loop": "  workers: [{queues: [async], threads: 4, polling_interval: 0.05}]\n",
}
WORKERS = 3
ENGINES = {"main": "engine", "loop": "async_engine"}  # jobs of an event loop commit together with their completion too
RECURRING = 'development: {tick: {class: "tests.torture.app:tick", every: 1s, system: a test, catch_up: all}}\n'
STARTS_SEEN = {
    "sqlite": [
        "CREATE TRIGGER torture AFTER INSERT ON tj_starts BEGIN "
        "INSERT INTO starts_seen VALUES (NEW.key, NEW.number, NEW.started_at); END"
    ],
    "mariadb": [
        "CREATE TRIGGER torture AFTER INSERT ON tj_starts FOR EACH ROW "
        "INSERT INTO starts_seen VALUES (NEW.`key`, NEW.number, NEW.started_at)"
    ],
    "postgresql": [
        "CREATE FUNCTION see_start() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO starts_seen VALUES (NEW.key, NEW.number, NEW.started_at); RETURN NULL; END $$",
        "CREATE TRIGGER torture AFTER INSERT ON tj_starts FOR EACH ROW EXECUTE FUNCTION see_start()",
    ],
}
PREPARE = """
from tenantjobs_db import schema
from tests.torture.app import engine
from tests.torture.tables import Base

Base.metadata.create_all(engine)
schema.upgrade(engine)
"""


class Site:
    """Everything under one folder, where the processes log as well."""

    def __init__(self, server: Server, folder: Path, *, tenants: int, seed: int, lease: float) -> None:
        self.server = server
        self.folder = folder
        self.tenants = tenants
        self.seed = seed
        self.lease = lease
        self.engine = create_engine(server.url)
        self.supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self.producers: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self.is_calm = False  # then nothing recurs
        self._seen: set[psutil.Process] = set()
        self._leaving: list[subprocess.Popen[bytes]] = []
        (folder / "recurring.yml").write_text(RECURRING)
        for name, plan in PLANS.items():
            (folder / f"{name}.yml").write_text(f"development:\n  scheduler: {str(name == 'main').lower()}\n{plan}")
            (folder / f"{name}-calm.yml").write_text(f"development:\n  scheduler: false\n{plan}")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TENANTJOBS_")},
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]),
            "TENANTJOBS_TORTURE_URL": server.url,
            "TENANTJOBS_TORTURE_SEED": str(seed),
            "TENANTJOBS_ADAPTER": "db",
            "TENANTJOBS_APP": "tests.torture.app",
            "TENANTJOBS_DB_ENGINE": "tests.torture.app:engine",
            "TENANTJOBS_DB_LEASE": str(lease),
            "TENANTJOBS_DB_MAX_DEATHS": "100000",
            "TENANTJOBS_RECURRING": str(folder / "recurring.yml"),
        }

    def prepare(self) -> None:
        """Make the tables of the application and of the queue, and have every start that counts for a rate noted."""
        self._started("prepare", "-c", PREPARE).wait()
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE starts_seen AS SELECT * FROM tj_starts WHERE 1 = 0"))
            for statement in STARTS_SEEN[self.server.name]:
                connection.exec_driver_sql(statement)

    def supervise(self, name: str) -> None:
        """Start this supervisor, in the place of the one that was."""
        plan = self.folder / (f"{name}-calm.yml" if self.is_calm else f"{name}.yml")
        before = self.supervisors.get(name)
        if before is not None and before.poll() is None:
            self._leaving.append(before)
        self.supervisors[name] = self._started(
            name,
            *("-m", "tenantjobs.cli", "work", "--log-level", "info"),
            *("--shutdown-timeout", "60" if self.is_calm else "5"),  # a slow machine is no fault
            TENANTJOBS_DB_QUEUE_FILE=str(plan),
            TENANTJOBS_DB_ENGINE=f"tests.torture.app:{ENGINES[name]}",
        )

    def produce(self, first: int, last: int) -> None:
        """Have the orders from ``first`` up to ``last`` placed by a process of their own."""
        numbers = (first, last, self.tenants, self.seed)
        self.producers[first, last] = self._started("producer", "-m", "tests.torture.producer", *map(str, numbers))

    def look_after(self) -> None:
        """Start again what has ended too early, as an init system does."""
        for name, supervisor in self.supervisors.items():
            if supervisor.poll() is not None:
                self.supervise(name)
        for numbers, producer in self.producers.items():
            if producer.poll() not in (None, 0):
                self.produce(*numbers)

    @property
    def is_placed(self) -> bool:
        """Whether all orders are."""
        return all(producer.poll() == 0 for producer in self.producers.values())

    def processes(self, *kinds: str) -> list[psutil.Process]:
        """Those that are at work as far as the database knows; none if it does not answer."""
        try:
            with self.engine.connect() as connection:
                rows = connection.execute(text("SELECT pid, kind FROM tj_processes")).all()
        except SQLAlchemyError:
            return []
        alive = [(row.kind, process) for row in rows if (process := _living(row.pid)) is not None]
        self._seen |= {process for kind, process in alive if kind != "supervisor"}
        return [process for kind, process in alive if kind in kinds]

    def unfinished(self) -> int | None:
        """How many jobs have not come to an end, ticks aside while they recur; None if the database does not answer."""
        try:
            with self.engine.connect() as connection:
                query = "SELECT count(*) FROM tj_jobs WHERE state IN ('ready', 'scheduled', 'blocked', 'claimed')"
                query += "" if self.is_calm else " AND name <> 'tests.torture.app.tick'"
                return int(connection.execute(text(query)).scalar_one())
        except SQLAlchemyError:
            return None

    def ended(self) -> int:
        """How many jobs have; 0 if the database does not answer."""
        try:
            with self.engine.connect() as connection:
                query = "SELECT count(*) FROM tj_jobs WHERE finished_at IS NOT NULL"
                return int(connection.execute(text(query)).scalar_one())
        except SQLAlchemyError:
            return 0

    def leftovers(self) -> int:
        """What jobs and processes that have ended may leave for a moment, until somebody has looked after it."""
        queries = (
            "SELECT count(*) FROM tj_locks",
            "SELECT count(*) FROM tj_permits",
            "SELECT count(*) FROM tj_blocked",
            "SELECT count(*) FROM tj_ledger WHERE state <> 'done'",
            "SELECT count(*) FROM tj_batches WHERE finished_at IS NULL",
        )
        with self.engine.connect() as connection:
            left = sum(int(connection.execute(text(query)).scalar_one()) for query in queries)
            pids = connection.execute(text("SELECT pid FROM tj_processes")).scalars()
            return left + sum(_living(pid) is None for pid in pids)

    def stop(self) -> list[int]:
        """Stop the supervisors as an operator does; their exit codes."""
        for supervisor in self.supervisors.values():
            supervisor.terminate()
        everybody = [*self.supervisors.values(), *self._leaving]
        codes = [_ended(process, 60) for process in everybody]
        self._leaving = []
        return codes

    def close(self) -> None:
        """Leave nothing behind, however this came to its end."""
        self.processes()
        for process in (*self.supervisors.values(), *self._leaving, *self.producers.values()):
            process.kill()
            process.wait()
        for process in self._seen:
            send(process, signal.SIGKILL)
        self.engine.dispose()

    def _started(self, log: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env=self._environment | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def send(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether it was still there; whoever has got its number since is left alone."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
        return True
    return False


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it came to that in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _living(pid: int) -> psutil.Process | None:
    """The process of tenantjobs that has this number: numbers are used again."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and any("tenantjobs" in word for word in process.cmdline()):
            return process
    return None


def _ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

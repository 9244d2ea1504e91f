"""Where measurements are taken: databases, the memory that jobs write to, and the processes of one side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine, make_url, text

from tests.benchmarks.speed.noise import Noise
from tests.benchmarks.speed.peers import ROOT, python_of
from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import Starts
from tests.services import empty_postgres, fresh_postgres

SQLITE = "sqlite"
POSTGRES = "postgresql"
MEMORY = Path("/dev/shm")  # where a file is on no disk


class Bench:
    """For one run. Databases are made when they are needed, and dropped with ``stack``."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._servers: dict[str, str] = {}
        self._files = 0

    def empty(self, database: str) -> str:
        """The URL of a database in which nothing is: on disk, since commits are to be durable."""
        if database == SQLITE:
            self._files += 1
            return f"sqlite:///{self._folder}/{self._files}.sqlite3"
        url = self.kept("measured")
        empty_postgres(url)
        return url

    def kept(self, name: str) -> str:
        """The URL of a PostgreSQL database that keeps what is in it until the end of the run."""
        if name not in self._servers:
            self._servers[name] = self._stack.enter_context(fresh_postgres(durable=True))
        return self._servers[name]

    def noise(self) -> Noise:
        return Noise([str(make_url(url).database) for url in self._servers.values()])

    @contextmanager
    def starts(self, setting: Setting, url: str, jobs: int) -> Iterator[tuple[Starts, Setting]]:
        """Fresh memory for that many jobs, and the setting for processes that write to it."""
        folder = MEMORY if MEMORY.is_dir() else self._folder
        path = folder / f"{self._folder.name}-{os.getpid()}.starts"
        try:
            yield Starts.create(path, jobs), replace(setting, url=_understood(url, setting.side), starts=str(path))
        finally:
            path.unlink()

    @contextmanager
    def producer(self, setting: Setting) -> Iterator[Producer]:
        with self._process("producer", setting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            yield Producer(process)

    @contextmanager
    def workers(self, setting: Setting, count: int) -> Iterator[Workers]:
        """Worker processes that wait at the gate."""
        with ExitStack() as stack:
            yield Workers(
                [
                    stack.enter_context(
                        self._process("worker", replace(setting, worker=number), stdin=subprocess.DEVNULL)
                    )
                    for number in range(count)
                ]
            )

    @contextmanager
    def _process(self, role: str, setting: Setting, **pipes: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Ended at the end, by force if need be; what it has said is shown if it has failed."""
        command = [python_of(setting.side), "-m", "tests.benchmarks.speed.agent", role, json.dumps(asdict(setting))]
        log = self._folder / f"{role}.{setting.worker}.log"
        with open(log, "wb") as errors:
            process = subprocess.Popen(command, cwd=ROOT, stderr=errors, **pipes)
        try:
            yield process
        except Exception:
            print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


class Producer:
    """Asks a producer, and waits for its answer."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self, what: str, *arguments: int) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, *arguments]).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the producer has ended instead of answering {what}{arguments}")
        return json.loads(answer)


class Workers:
    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def __len__(self) -> int:
        return len(self._processes)

    def alive(self) -> None:
        """Raise if one of them has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"a worker has ended with {process.returncode}")

    def resident(self) -> int:
        """Bytes of the first one and of the processes that it has started."""
        first = psutil.Process(self._processes[0].pid)
        return sum(process.memory_info().rss for process in (first, *first.children(recursive=True)))


def settle(url: str) -> None:
    """What the server would do by itself some time after so many rows have come."""
    if url.startswith(POSTGRES):
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        engine.dispose()


@contextmanager
def held_open(url: str) -> Iterator[None]:
    """A transaction that keeps its snapshot: nothing that ends after it has begun can be cleaned up."""
    engine = create_engine(url, isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_current_xact_id()"))
        yield
        connection.execute(text("SELECT 1"))
    engine.dispose()


def _understood(url: str, side: str) -> str:
    """The URL as the side reads it: only ours is SQLAlchemy's."""
    return url if side == "ours" else url.replace("+psycopg", "")

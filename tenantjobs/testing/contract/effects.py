"""What the jobs of the kit have done, in a file that the test and its worker processes share."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tenantjobs.current import Current
from tenantjobs.running import current_job

FOLDER = "TENANTJOBS_CONTRACT_FOLDER"  # the environment variable that says where, also to workers


class Effect(msgspec.Struct, frozen=True):
    """One thing that a job has done, and in which scope, attempt and process. ``at`` is in seconds since the epoch."""

    what: str
    value: Any
    job_id: str | None
    attempt: int
    queue: str | None
    scope: str
    tenant_id: str | None
    pid: int
    at: float


def record(what: str, value: Any = None) -> None:
    """Leave a trace of the running job."""
    job = current_job()
    effect = Effect(
        what=what,
        value=value,
        job_id=None if job is None else job.id,
        attempt=0 if job is None else job.attempt,
        queue=None if job is None else job.queue,
        scope=Current.scope,
        tenant_id=Current.tenant_id,
        pid=os.getpid(),
        at=time.time(),
    )
    with _opened(folder()) as connection:
        connection.execute("INSERT INTO effects (effect) VALUES (?)", (msgspec.json.encode(effect).decode(),))


def recorded(where: Path) -> list[Effect]:
    """All traces, in the order in which they were left."""
    with _opened(where) as connection:
        rows = connection.execute("SELECT effect FROM effects ORDER BY number").fetchall()
    return [msgspec.convert(json.loads(text), Effect) for (text,) in rows]


def folder() -> Path:
    """Where the test and its workers meet."""
    return Path(os.environ[FOLDER])


def wait_for_file(name: str, seconds: float = 30.0) -> None:
    """Hold the running job until the test has made the file ``name`` in the folder."""
    _wait(lambda: (folder() / name).exists(), seconds, f"nobody has made the file {name}")


def wait_for_others(what: str, count: int, seconds: float = 30.0) -> None:
    """Hold the running job until ``count`` jobs of its tenant have left the trace ``what``, itself among them."""
    tenant = Current.tenant_id

    def are_there() -> bool:
        return sum((effect.what, effect.tenant_id) == (what, tenant) for effect in recorded(folder())) >= count

    _wait(are_there, seconds, f"{what}: no {count} jobs of {tenant}")


def _wait(condition: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.02)


@contextmanager
def _opened(where: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(where / "effects.db", timeout=30, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS effects (number INTEGER PRIMARY KEY, effect TEXT NOT NULL)")
        yield connection

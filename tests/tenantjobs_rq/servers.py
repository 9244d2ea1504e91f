"""A real Redis, and real workers on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.worker import Worker

from tests.services import REDIS, require

ROOT = Path(__file__).parents[2]
ENDED = {JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}
PATIENCE = 20


class Shop:
    """One queue, and what happened to the jobs in it."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.connection = redis.Redis.from_url(REDIS, socket_timeout=None)  # blpop says how long
        self.queue = Queue(name, connection=self.connection, **options)

    def notes(self, key: str, count: int = 1) -> list[str]:
        """What was noted, as soon as there is that much of it."""
        found: list[str] = []
        while len(found) < count:
            answer: Any = self.connection.blpop([f"{self.name}:note:{key}"], timeout=PATIENCE)
            if answer is None:
                raise AssertionError(f"{key}: {found} and no more, where {count} are expected")
            found.append(answer[1].decode())
        return found

    def noted(self, key: str) -> list[str]:
        """What has been noted so far."""
        found: Any = self.connection.lrange(f"{self.name}:note:{key}", 0, -1)
        return [each.decode() for each in found]

    def ended(self, job: Job) -> JobStatus:
        """The status of the job, once it will not change by itself any more."""
        deadline = time.monotonic() + PATIENCE
        while (status := job.get_status()) not in ENDED:
            if time.monotonic() > deadline:
                raise AssertionError(f"{job} is {status}, and stays so")
            time.sleep(0.02)
        return status

    def got(self, job: Job | str) -> Any:
        """What the job returned."""
        found = Job.fetch(job, connection=self.connection) if isinstance(job, str) else job
        status = self.ended(found)
        assert status == JobStatus.FINISHED, f"{found} is {status}: {self.error(found)}"
        return found.return_value(refresh=True)

    def error(self, job: Job) -> str:
        """The text of the error that the job has failed of."""
        self.ended(job)
        result = job.latest_result()
        return "" if result is None else result.exc_string or ""

    def close(self) -> None:
        self.connection.close()
        remove(self.name)


def remove(prefix: str) -> None:
    """The queues whose names begin so, with their jobs and whatever else is kept under that name."""
    begins = prefix.encode()
    with redis.Redis.from_url(REDIS) as connection:
        for registry in ("rq:queues", "rq:groups"):
            members: Any = connection.smembers(registry)
            for member in members:
                if member.removeprefix(b"rq:queue:").startswith(begins):
                    connection.srem(registry, member)
        for key in connection.scan_iter("rq:job:*"):
            if connection.type(key) == b"hash" and (connection.hget(key, "origin") or b"").startswith(begins):
                job_id = key.removeprefix(b"rq:job:").decode()
                connection.delete(key, f"rq:results:{job_id}", f"rq:executions:{job_id}", f"{key.decode()}:dependents")
        for key in connection.scan_iter(f"*{prefix}*"):
            connection.delete(key)


@contextmanager
def queue(**options: Any) -> Iterator[Shop]:
    """A queue of its own, gone afterwards."""
    require("Redis")
    shop = Shop(f"tj{uuid.uuid4().hex[:10]}", **options)
    try:
        yield shop
    finally:
        shop.close()


@contextmanager
def worker(
    shop: Shop, log: Path, *command: str, job_class: str = "tenantjobs_rq.TenantJob", **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """``rq worker`` or what else is in ``command``, on the queue of the shop."""
    arguments = (*command, "-c", "tests.tenantjobs_rq.worker", shop.name)
    with process(log, *arguments, RQ_JOB_CLASS=job_class, **variables) as started:
        deadline = time.monotonic() + PATIENCE
        while not Worker.all(queue=shop.queue):
            if started.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the worker has not started:\n{log.read_text()}")
            time.sleep(0.05)
        yield started


@contextmanager
def process(log: Path, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command line of RQ."""
    with running(log, "rq.cli", *command, RQ_REDIS_URL=REDIS, **variables) as started:
        yield started


@contextmanager
def running(log: Path, module: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m module``, in a process of its own, stopped afterwards."""
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), str(ROOT / "adapters"), *filter(None, sys.path)]))
    environment = {**os.environ, "PYTHONPATH": paths, **variables}
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(timeout=15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()

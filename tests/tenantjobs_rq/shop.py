"""The functions that real workers perform in these tests: each says for whom it ran."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import redis
from rq import Queue, get_current_job
from rq.job import Job

import tenantjobs
from tenantjobs.current import Current

try:
    from rq import Retry
except ImportError:  # pragma: no cover
    Retry = None  # type: ignore[assignment, misc]

STORE = redis.Redis.from_url(os.environ.get("TENANTJOBS_TEST_REDIS", "redis://127.0.0.1:6379/0"))


def locate_tenant(tenant_id: str) -> str | None:
    if tenant_id == "down":
        raise ConnectionError("no route to the store")
    return None if tenant_id == "gone" else tenant_id


if "RQ_JOB_CLASS" in os.environ:  # in a worker, and in what it spawns, which imports nothing but this module
    tenantjobs.configure(tenant_locator=locate_tenant)


def whom() -> str:
    """For whom this code runs, in one word."""
    if Current.scope == "system":
        return "system"
    return Current.tenant_id or "-"


def running() -> Job:
    job = get_current_job()
    assert job is not None
    return job


def note(job: Job, key: str, what: str | None = None) -> None:
    """Kept under the name of the queue, so that it goes with it."""
    STORE.rpush(f"{job.origin}:note:{key}", whom() if what is None else what)


# jobs


def who(*_: object, **__: object) -> str:
    return whom()


async def who_async() -> list[str]:
    async def elsewhere() -> str:
        return whom()

    return [whom(), *await asyncio.gather(elsewhere(), asyncio.to_thread(whom))]


def noted(key: str) -> str:
    note(running(), key)
    return whom()


def forbidden() -> None:
    note(running(), "forbidden", "it ran")


def failing() -> None:
    raise RuntimeError("as asked for")


def failing_until(runs: int) -> list[Any]:
    job = running()
    note(job, job.id)
    seen = STORE.llen(f"{job.origin}:note:{job.id}:runs")
    STORE.rpush(f"{job.origin}:note:{job.id}:runs", "run")
    if seen + 1 < runs:  # type: ignore[operator]  # redis types its answers for both kinds of client
        with Current.switch("to see that it does not stick", tenant_id="elsewhere"):
            raise ConnectionError("as asked for")
    return [whom()]


def returning_retry() -> Any:
    job = running()
    note(job, job.id)
    return Retry(max=2) if not job.number_of_retries else whom()


def losing_meta(runs: int) -> Any:
    job = running()
    job.meta = {"mine": True}
    job.save_meta()
    return failing_until(runs)


def parent() -> list[str]:
    queue = Queue(running().origin, connection=running().connection)
    many = queue.enqueue_many([Queue.prepare_data(who)])
    return [queue.enqueue(who).id, many[0].id]


def switching_parent() -> list[str]:
    queue = Queue(running().origin, connection=running().connection)
    with Current.switch("a copy for globex", tenant_id="globex"):
        return [queue.enqueue(who, meta=running().meta).id]


def leaving_open(fail: bool = False) -> str:
    Current.switch("never left", tenant_id="LEAK").__enter__()
    if fail:
        raise RuntimeError("as asked for")
    return whom()


def exiting() -> None:
    Current.switch("never left", tenant_id="LEAK").__enter__()
    raise SystemExit(0)


def endless() -> None:
    note(running(), running().id)
    Current.switch("never left", tenant_id="LEAK").__enter__()
    time.sleep(60)


def killed_with_its_worker() -> str:
    note(running(), running().id)
    runs: Any = STORE.incr(f"{running().origin}:note:{running().id}:runs")
    if runs == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return whom()


def killed() -> None:
    note(running(), running().id)
    os.kill(os.getpid(), signal.SIGKILL)


# callbacks and handlers


def on_success(job: Job, _connection: Any, result: Any) -> None:
    note(job, f"{job.id}:success")


def on_failure(job: Job, _connection: Any, *_exc: Any) -> None:
    note(job, f"{job.id}:failure")


def on_stopped(job: Job, _connection: Any) -> None:
    note(job, f"{job.id}:stopped")


def enqueueing_callback(job: Job, connection: Any, _result: Any) -> None:
    child = Queue(job.origin, connection=connection).enqueue(who)
    note(job, f"{job.id}:child", child.id)


def leaving_callback(job: Job, _connection: Any, _result: Any) -> None:
    Current.switch("never left", tenant_id="LEAK").__enter__()
    note(job, f"{job.id}:success")


def handler(job: Job, *_exc: Any) -> bool:
    note(job, f"{job.id}:handler")
    return True


def look_for_residue(perform_job: Callable[..., Any]) -> Callable[..., Any]:
    """``Worker.perform_job``, after which nothing may be in force."""

    def performing(worker: Any, job: Job, *args: Any, **kwargs: Any) -> Any:
        try:
            return perform_job(worker, job, *args, **kwargs)
        finally:
            if Current.scope != "unset":
                note(job, "residue")

    return performing

"""The application whose jobs ``tenantjobs work`` performs in these tests."""

from __future__ import annotations

import os
import signal
import time

import redis

from tenantjobs import current_job, discard_on, idempotent, job, retry_on
from tests.tenantjobs_rq.shop import whom

STORE = redis.Redis.from_url(os.environ.get("TENANTJOBS_TEST_REDIS", "redis://127.0.0.1:6379/0"))
RETRIED = retry_on(ConnectionError, wait=0, attempts=3)


def note(key: str, what: object) -> None:
    STORE.rpush(key, str(what))


@job(name="rq.noted")
def noted(key: str) -> object:
    note(key, whom())
    return object()  # nothing of it is stored


@job(name="rq.elsewhere", queue="elsewhere")
def elsewhere(key: str) -> None:
    note(key, whom())


@job(name="rq.noted_async")
async def noted_async(key: str) -> None:
    note(key, whom())


@job(name="rq.retried", policies=[RETRIED])
def retried(key: str) -> None:
    found = current_job()
    assert found is not None
    note(key, f"{whom()} {found.attempt}")
    if found.attempt < 3:
        raise ConnectionError("as asked for")


@job(name="rq.failing")
def failing(key: str) -> None:
    note(key, whom())
    raise RuntimeError("as asked for")


@job(name="rq.discarded", policies=[discard_on(LookupError)])
def discarded(key: str) -> None:
    note(key, whom())
    raise LookupError("as asked for")


@job(name="rq.killed")
def killed(key: str) -> None:
    note(key, whom())
    if STORE.llen(key) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@job(name="rq.endless")
def endless(key: str) -> None:
    note(key, whom())
    time.sleep(60)


@job(name="rq.once", policies=[idempotent(key=lambda key: key)])
def once(key: str) -> None:
    note(key, whom())


@job(name="rq.forwarding")
def forwarding(key: str) -> None:
    noted.set(queue="forwarded").perform_later(key)

"""Jobs with keys and locks, whose effects are notes in Redis."""

from __future__ import annotations

import os
import signal
import sys

import redis

from tenantjobs import Current, Job, idempotent, job, limits_concurrency, limits_rate, once, unique

# Not by tests.services, which knows databases.
REDIS = os.environ.get("TENANTJOBS_TEST_REDIS", "redis://127.0.0.1:6379/0")
STORE = redis.Redis.from_url(REDIS, decode_responses=True)


def note(place: str, what: str) -> int:
    return int(STORE.rpush(place, f"{Current.tenant_id}: {what}"))


@job(name="redis.charged", policies=[idempotent(key=lambda place, number: f"charge:{number}")])
def charged(place: str, number: int) -> None:
    note(place, f"charged {number}")


@job(name="redis.fragile", policies=[idempotent(key=lambda place: "fragile")])
def fragile(place: str) -> None:
    """Its process dies in the first attempt, with the key in its hands."""
    if note(place, f"database libraries: {'sqlalchemy' in sys.modules}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@job(name="redis.failing", policies=[idempotent(key=lambda place: "failing")])
def failing(place: str) -> None:
    note(place, "tried")
    raise ValueError("as asked for")


@job(name="redis.greeted")
def greeted(place: str) -> None:
    with once("greet") as first:
        note(place, "hello" if first else "again")


@job(name="redis.careless")
def careless(place: str) -> None:
    try:
        with once("careless"):
            note(place, "hello")
    except Exception:
        note(place, "has caught it")


@job(name="redis.greeted_async")
async def greeted_async(place: str) -> None:
    async with once("greet") as first:
        note(place, "hello" if first else "again")


@job(name="redis.reported", policies=[unique("until_executed", key=lambda place: "report")])
def reported(place: str) -> None:
    note(place, "reported")


@job(name="redis.limited", policies=[limits_concurrency(to=1)])
def limited() -> None: ...


class Rated(Job):
    name = "redis.rated"
    policies = [limits_rate(to=1, per=1)]

    def perform(self) -> None: ...

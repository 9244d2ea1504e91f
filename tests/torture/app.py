"""The application that is tortured: jobs of every kind, each of which leaves rows that say when, for whom, and whose.

An effect is written by the session of its job, and nothing unique hides a double. Times are those of the machine, which
no process moves: where the clock of a worker jumps, it is the one that tenantjobs goes by.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

import tenantjobs
import tenantjobs_sqlalchemy
from tenantjobs import (
    clock,
    current_job,
    idempotent,
    job,
    lifecycle,
    limits_concurrency,
    limits_rate,
    retry_on,
    step,
    unique,
)
from tests.services import asynchronous
from tests.torture.tables import AT_ONCE, PER, STARTS, Effect

URL = os.environ["TENANTJOBS_TORTURE_URL"]
LONGEST = 0.02  # seconds that a job works
JUMP = timedelta(hours=2)

engine = create_engine(URL)
async_engine = create_async_engine(asynchronous(URL))
Session = sessionmaker(engine)
AsyncSession = async_sessionmaker(async_engine)
tenantjobs_sqlalchemy.install(Session)
tenantjobs_sqlalchemy.install(AsyncSession)


class Current(tenantjobs.Current):
    mark: str | None = None  # that of the order, which nobody else has


class Planned(Exception):
    """An error that belongs to the job."""


# A database that is not there is nobody's fault: the job comes again, however often.
AGAIN = retry_on(SQLAlchemyError, OSError, wait=0.3, attempts=10_000)


def of_tenant_and_key(number: int, key: str) -> str:
    return key


@job(policies=[AGAIN])
def plain(number: int) -> None:
    """At least once, and no more is promised."""
    _work(number)


@job(transactional=True, policies=[AGAIN])
def transactional(number: int, part: str = "") -> None:
    _work(number, part)


@job(policies=[AGAIN, idempotent(key=lambda number: number)])
def keyed(number: int) -> None:
    _work(number)


@job(queue="async", transactional=True, policies=[AGAIN])
async def on_a_loop(number: int) -> None:
    _effect(number, "", time.time())


@job(transactional=True, policies=[AGAIN, unique("until_executed", key=of_tenant_and_key)])
def alone(number: int, key: str) -> None:
    _work(number)


@job(transactional=True, policies=[AGAIN, limits_concurrency(to=AT_ONCE, duration=3)])
def limited(number: int) -> None:
    _work(number)


@job(transactional=True, policies=[AGAIN, limits_rate(to=STARTS, per=PER)])
def rated(number: int) -> None:
    _work(number)


@job(transactional=True, policies=[AGAIN, retry_on(Planned, wait=0.2, attempts=10_000)])
def flaky(number: int) -> None:
    """It leaves an effect before it fails, which is to be rolled back."""
    _work(number)
    if _running().attempt < 3:
        raise Planned("as planned")


@job(policies=[AGAIN, retry_on(Planned, wait=0, attempts=2)])
def hopeless(number: int) -> None:
    _work(number)
    raise Planned("as planned, until it counts as failed")


@job(policies=[AGAIN])
def stepwise(number: int) -> None:
    for name in ("first", "second"):
        for cursor in step(name, start=0):
            for place in range(cursor.value, 2):
                _work(number, f"{name} {place}")
                cursor.advance()


@job(transactional=True, policies=[AGAIN])
def parent(number: int) -> None:
    """Its child is enqueued by its own commit."""
    _work(number, "parent")
    transactional.perform_later(number, "child")


@job(policies=[AGAIN])
def called_back(number: int) -> None:
    _work(number, "called back")


@job(transactional=True, policies=[AGAIN])
def tick() -> None:
    _work(0, "tick")


def _work(number: int, part: str = "") -> None:
    began = time.time()
    time.sleep(random.uniform(0, LONGEST))
    _effect(number, part, began)


def _effect(number: int, part: str, began: float) -> None:
    tenantjobs_sqlalchemy.current_session().add(
        Effect(
            job_id=_running().id,
            number=number,
            part=part,
            tenant=Current.tenant_id,
            mark=Current.mark,
            began=began,
            ended=time.time(),
        )
    )


def _running() -> Any:
    running = current_job()
    assert running is not None
    return running


@lifecycle.on_worker_start
def let_the_clock_jump() -> None:
    """By up to some hours, forth or back, whenever the process is sent SIGUSR1."""
    chance = random.Random(f"{os.environ.get('TENANTJOBS_TORTURE_SEED')} {os.getpid()}")

    def jump(*_signal: object) -> None:
        clock.put_right()
        clock.move(chance.uniform(-1, 1) * JUMP)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, jump)


@event.listens_for(async_engine.sync_engine, "connect")
@event.listens_for(engine, "connect")
def _prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
    if engine.dialect.name == "sqlite":
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=20000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

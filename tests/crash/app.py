"""The application of the crash tests: an effect in the job's own transaction, with nothing unique to hide a double."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Double, Text, create_engine, event, insert, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

import tenantjobs_sqlalchemy
from tenantjobs import Current, batch, chain, idempotent, job, lifecycle, limits_concurrency, once, step, unique
from tests.services import asynchronous

engine = create_engine(os.environ["TENANTJOBS_CRASH_URL"])
async_engine = create_async_engine(asynchronous(os.environ["TENANTJOBS_CRASH_URL"]))
Session = sessionmaker(engine)
AsyncSession = async_sessionmaker(async_engine)
tenantjobs_sqlalchemy.install(Session)
tenantjobs_sqlalchemy.install(AsyncSession)


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    tenant: Mapped[str | None] = mapped_column(Text)


class Order(Base):
    """What an application commits together with a job."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Span(Base):
    """When an execution has started, and when it has ended; never, if its worker was killed."""

    __tablename__ = "spans"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    tenant: Mapped[str | None] = mapped_column(Text)
    pid: Mapped[int]
    started_at: Mapped[float] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)


class Residue(Base):
    """What a job found of an earlier one: must stay empty."""

    __tablename__ = "residues"

    id: Mapped[int] = mapped_column(primary_key=True)
    found: Mapped[str] = mapped_column(Text)


@job(policies=[idempotent(key=lambda number: number)])
def effect(number: int) -> None:
    """One row for each number, whatever happens to the worker."""
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job(transactional=True)
def transactional_effect(number: int) -> None:
    """The same without a key: the job is done with its row."""
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job(transactional=True)
async def async_effect(number: int) -> None:
    """The same on an event loop."""
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job(transactional=True, policies=[unique("until_executed", key=lambda number: number)])
def unique_effect(number: int) -> None:
    """The same, and one job for each number in the queue at a time."""
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job(session=False, policies=[limits_concurrency(to=2, duration=2)])
def limited_effect(number: int) -> None:
    """A span of time, of which two at once are allowed to each tenant."""
    with engine.begin() as connection:
        row = {"number": number, "tenant": Current.tenant_id, "pid": os.getpid(), "started_at": time.time()}
        span = connection.execute(insert(Span), row).inserted_primary_key
    assert span is not None
    time.sleep(0.05)
    if number == int(os.environ.get("TENANTJOBS_CRASH_HOLDS", -1)):
        time.sleep(60)
    with engine.begin() as connection:
        connection.execute(update(Span).where(Span.id == span[0]).values(ended_at=time.time()))


@job(policies=[limits_concurrency(to=1, duration=1)])
def paused_effect(number: int) -> None:
    """An effect at its end; the first one takes its time, in which its worker may be stopped."""
    with engine.begin() as connection:
        row = {"number": number, "tenant": Current.tenant_id, "pid": os.getpid(), "started_at": time.time()}
        connection.execute(insert(Span), row)
    time.sleep(1 if number == 0 else 0)
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job
def guarded_effect(number: int) -> None:
    """The same behind a key of its own, in the middle of a job."""
    with once(f"effect:{number}") as first:
        if first:
            tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job(transactional=True)
def held_effect(number: int) -> None:
    """An effect that the test holds back for as long as the gate, a file, is not there."""
    with engine.begin() as connection:
        row = {"number": number, "tenant": Current.tenant_id, "pid": os.getpid(), "started_at": time.time()}
        connection.execute(insert(Span), row)
    while not os.path.exists(os.environ["TENANTJOBS_CRASH_GATE"]):
        time.sleep(0.02)
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job
def called_back(number: int) -> None:
    """An effect of a batch, which has no guard of its own."""
    tenantjobs_sqlalchemy.current_session().add(Effect(number=number, tenant=Current.tenant_id))


@job
def failing() -> None:
    raise ZeroDivisionError


def batch_of(jobs: int, job: Any) -> None:
    """A batch whose parts are a loose job, a nested batch and a chain; each calls back under a number below 0."""
    with Current.set(tenant_id="acme"), Session.begin() as session:
        session.add(Order(number=jobs))
        with batch(on_success=called_back.call(-1), on_finish=called_back.call(-2), on_failure=called_back.call(-3)):
            for number in range(0, jobs, 3):
                job.perform_later(number)
            with batch(on_success=called_back.call(-4)):
                for number in range(1, jobs, 3):
                    job.perform_later(number)
            chain(*(job.call(number) for number in range(2, jobs, 3))).perform_later()


@job
def stepwise_effect(number: int) -> None:
    """Four effects in two steps; the worker may be killed between any two of them."""
    session = tenantjobs_sqlalchemy.current_session()
    for name in ("first", "second"):
        for cursor in step(name, start=0):
            for _ in range(cursor.value, 2):
                session.add(Effect(number=number, tenant=Current.tenant_id))
                session.flush()
                _pass()
                cursor.advance()
                _pass()


def _pass() -> None:
    """The passage at which the variable says that the process is killed."""
    global _passages
    _passages += 1
    if _passages == int(os.environ.get("TENANTJOBS_CRASH_PASSAGE", 0)):
        os.kill(os.getpid(), signal.SIGKILL)


_passages = 0


def _note(moment: str) -> Callable[[lifecycle.Process], None]:
    def note(process: lifecycle.Process) -> None:
        if path := os.environ.get("TENANTJOBS_CRASH_HOOKS"):
            with open(path, "a") as file:
                file.write(f"{process.kind} {moment} {process.id}\n")

    return note


for (_, moment), hooks in lifecycle.HOOKS.items():
    hooks(_note(moment))


@event.listens_for(async_engine.sync_engine, "connect")
@event.listens_for(engine, "connect")
def _prepare(connection: object, _record: ConnectionPoolEntry) -> None:
    if engine.dialect.name == "sqlite":
        cursor = connection.cursor()  # type: ignore[attr-defined]  # a DBAPI connection
        cursor.execute("PRAGMA busy_timeout=20000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

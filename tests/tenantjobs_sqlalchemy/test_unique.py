"""Unique jobs in transactions: the lock is taken with the commit, and the handle says what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import DuplicateJob, Handle, UnsupportedCapability, adapter, job, perform_all_later, testing, unique
from tenantjobs_db import schema, tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.outbox import DatabaseOutbox
from tests.tenantjobs_sqlalchemy.conftest import Order, Recording

Maker = sessionmaker[Session]
AMaker = async_sessionmaker[AsyncSession]

performed: list[Any] = []


@job(name="tests.unique.send", tenancy="none", policies=[unique("until_executed", key=lambda user, text="": user)])
def send(user: int, text: str = "") -> None:
    performed.append(text)


@job(
    name="tests.unique.resend",
    tenancy="none",
    policies=[unique("until_executed", key=lambda user, text="": user, on_conflict="replace")],
)
def resend(user: int, text: str = "") -> None:
    performed.append(text)


@job(name="tests.unique.ship", tenancy="none", policies=[unique("until_executed", key=lambda order: order)])
def ship(order: Order) -> None: ...


@job(name="tests.unique.raising", tenancy="none", policies=[unique("until_executed", on_conflict="raise")])
def raising() -> None: ...


@job(name="tests.unique.alone", tenancy="none", session=False, policies=[unique("until_and_while_executing")])
def alone() -> str:
    return "done"


@pytest.fixture
def ready(engine: Engine) -> Engine:
    """The schema of the queue, empty."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for table in (tables.jobs, tables.locks, tables.outbox):
            connection.execute(delete(table))
    performed.clear()
    return engine


@pytest.fixture
def joined(ready: Engine) -> Iterator[DatabaseAdapter]:
    """The queue and its locks are in the application's database."""
    with testing.override(adapter="db", db={"engine": ready}):
        found = adapter.configured()
        assert isinstance(found, DatabaseAdapter)
        yield found


@pytest.fixture(params=["joined", "after_commit", "outbox"])
def configured(request: pytest.FixtureRequest, ready: Engine) -> Iterator[None]:
    """The queue is in the database; or elsewhere, reached after the commit, or by the outbox."""
    recording = Recording()
    settings = {"adapter": "db", "db": {"engine": ready}}
    if request.param == "joined":
        with testing.override(**settings):
            yield
    else:
        with testing.override(**settings, outbox=request.param == "outbox"):
            database: Any = adapter.configured()
            recording.locks = database.locks  # type: ignore[attr-defined]  # as [db] beside another adapter gives them
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(adapter, "configured", lambda: recording)
                yield


def answers(*handles: Handle) -> list[bool | None]:
    return [handle.enqueued for handle in handles]


@pytest.mark.usefixtures("configured")
def test_the_commit_decides_and_the_handle_says_so(maker: Maker) -> None:
    with maker.begin():
        first, second = send.perform_later(1), send.perform_later(1)
        other = send.perform_later(2)

        assert answers(first, second, other) == [None, None, None]

    assert answers(first, second, other) == [True, False, True]
    assert isinstance(second.enqueue_error, DuplicateJob)
    assert first.job_id in str(second.enqueue_error)
    assert answers(send.perform_later(1)) == [False]


@pytest.mark.usefixtures("configured")
def test_a_rollback_takes_no_lock(maker: Maker) -> None:
    with pytest.raises(ZeroDivisionError), maker.begin():
        send.perform_later(1)
        raise ZeroDivisionError

    assert send.perform_later(1).enqueued


@pytest.mark.usefixtures("configured")
def test_neither_does_a_commit_that_fails(maker: Maker) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
    with pytest.raises(Exception, match=r"(?i)unique"), maker.begin() as session:
        send.perform_later(1)
        session.add(Order(name="a"))

    assert send.perform_later(1).enqueued


@pytest.mark.usefixtures("configured")
def test_a_savepoint_that_is_rolled_back_takes_none(maker: Maker) -> None:
    with maker.begin() as session:
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            dropped = send.perform_later(1)
            raise ZeroDivisionError
        kept = send.perform_later(1)

    assert answers(dropped, kept) == [False, True]


@pytest.mark.usefixtures("configured")
def test_one_that_is_cancelled_before_the_commit_takes_none(maker: Maker) -> None:
    with maker.begin():
        send.perform_later(1).cancel()
        second = send.perform_later(1)

    assert second.enqueued


@pytest.mark.usefixtures("configured")
def test_a_conflict_does_not_raise_in_a_transaction(maker: Maker) -> None:
    with maker.begin():
        handles = [raising.perform_later(), raising.perform_later()]
        handles += perform_all_later([raising.call(), raising.call()])

    assert answers(*handles) == [True, False, False, False]


@pytest.mark.usefixtures("configured")
def test_a_record_that_gets_its_key_with_the_commit_is_a_key(maker: Maker) -> None:
    with maker.begin() as session:
        orders = [Order(name="a"), Order(name="b")]
        session.add_all(orders)
        handles = [ship.perform_later(order) for order in (*orders, *orders)]

    assert answers(*handles) == [True, True, False, False]


@pytest.mark.usefixtures("configured")
async def test_an_async_session_does_the_same(amaker: AMaker, maker: Maker, ready: Engine) -> None:
    async with amaker.begin():
        first, second = send.perform_later(1), await send.aperform_later(1)

    assert answers(first, second) == [True, False]


def test_the_lock_commits_with_the_job(maker: Maker, joined: DatabaseAdapter, ready: Engine) -> None:
    with maker() as session:
        session.connection()
        handle = send.perform_later(1)
        with ready.connect() as other:
            assert other.scalars(select(tables.locks.c.owner)).all() == []
        session.commit()

    with ready.connect() as other:
        assert other.scalars(select(tables.locks.c.owner)).all() == [handle.job_id]


def test_replace_takes_the_other_one_back_by_the_same_commit(maker: Maker, joined: DatabaseAdapter) -> None:
    first = resend.perform_later(1, "a")
    with pytest.raises(ZeroDivisionError), maker.begin():
        resend.perform_later(1, "b")
        raise ZeroDivisionError
    state = joined.queue.find(first.job_id)
    assert state is not None
    assert state.state == "ready"

    with maker.begin():
        earlier, third = resend.perform_later(1, "c"), resend.perform_later(1, "d")
    testing.drain()

    assert answers(earlier, third) == [False, True]
    assert performed == ["d"]


def test_a_commit_that_fails_brings_back_what_was_replaced(maker: Maker, joined: DatabaseAdapter) -> None:
    first = resend.perform_later(1, "a")
    with pytest.raises(ZeroDivisionError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(joined), "enqueue_within", lambda *_: 1 / 0)
        with maker.begin():
            second = resend.perform_later(1, "b")
    testing.drain()

    assert answers(first, second) == [True, False]
    assert performed == ["a"]


def test_replace_in_a_transaction_does_not_go_with_the_outbox(maker: Maker, ready: Engine) -> None:
    with testing.override(adapter="test", outbox=True, db={"engine": ready}), pytest.raises(UnsupportedCapability):
        resend.perform_later(1)


def test_locks_elsewhere_are_freed_by_a_rollback_too(maker: Maker, ready: Engine) -> None:
    """The outbox is in the application's database, and the locks are not."""
    with testing.override(adapter="test", outbox=True, db={"engine": ready}):
        with pytest.raises(ZeroDivisionError), pytest.MonkeyPatch.context() as patch:
            patch.setattr(DatabaseOutbox, "write_within", lambda *_: 1 / 0)
            with maker.begin():
                handle = send.perform_later(1)

        assert handle.enqueued is False
        assert send.perform_later(1).enqueued


def test_transactions_that_commit_at_once_let_one_in(maker: Maker, joined: DatabaseAdapter) -> None:
    handles: list[Handle] = []
    start = threading.Barrier(4)

    def place(number: int) -> None:
        with maker.begin() as session:
            session.connection()
            start.wait()
            users = range(5) if number % 2 else reversed(range(5))
            handles.extend(send.perform_later(user) for user in users)

    threads = [threading.Thread(target=place, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers(*handles).count(True) == 5
    assert answers(*handles).count(False) == 15


def test_perform_now_locks_in_the_transaction_that_is_open_where_there_is_one_writer(
    maker: Maker, joined: DatabaseAdapter
) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
        session.flush()
        results = [alone.perform_now(), alone.perform_now()]

    assert results == ["done", "done"]


async def test_so_does_one_that_is_awaited(async_engine: AsyncEngine, amaker: AMaker, ready: Engine) -> None:
    with testing.override(adapter="db", db={"engine": async_engine}):
        async with amaker.begin() as session:
            session.add(Order(name="a"))
            await session.flush()

            assert await awaited.perform_now() == "done"


@job(name="tests.unique.awaited", tenancy="none", policies=[unique("until_and_while_executing")])
async def awaited() -> str:
    return "done"

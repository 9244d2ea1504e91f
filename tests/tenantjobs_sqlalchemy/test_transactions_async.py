"""The same of an ``AsyncSession``, and of many at a time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import job, on_commit
from tests.tenantjobs_sqlalchemy.conftest import Joining, Order, Recording, Statements, named

Maker = async_sessionmaker[AsyncSession]


@job(name="tests.asynchronous.note", tenancy="none")
def note(value: Any) -> None: ...


@pytest.fixture
def awithin(async_engine: AsyncEngine, within: Joining, monkeypatch: pytest.MonkeyPatch) -> Joining:
    monkeypatch.setattr(within, "joins", lambda engine: engine is async_engine.sync_engine)
    return within


async def test_a_job_leaves_with_the_commit(amaker: Maker, elsewhere: Recording) -> None:
    async with amaker.begin() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)
        await note.aperform_later(2)

        assert elsewhere.sent == []
        assert handle.enqueued is None

    assert elsewhere.batches == [[1, 2]]
    assert handle.enqueued is True


async def test_a_rollback_drops_it(amaker: Maker, elsewhere: Recording) -> None:
    with pytest.raises(ZeroDivisionError):
        async with amaker.begin() as session:
            session.add(Order(name="a"))
            await session.flush()
            note.perform_later(1)
            raise ZeroDivisionError

    assert elsewhere.sent == []


async def test_savepoints_count(amaker: Maker, elsewhere: Recording) -> None:
    async with amaker.begin() as session:
        async with session.begin_nested():
            note.perform_later(1)
        async with session.begin_nested() as savepoint:
            note.perform_later(2)
            await savepoint.rollback()
        await session.begin_nested()
        note.perform_later(3)

    assert elsewhere.sent == [1, 3]


async def test_a_session_that_read_and_is_closed_sends_its_jobs(amaker: Maker, elsewhere: Recording) -> None:
    async with amaker() as session:
        await session.scalars(select(Order))
        note.perform_later(1)

        assert elsewhere.sent == []

    assert elsewhere.sent == [1]


async def test_a_session_that_wrote_and_is_closed_drops_its_jobs(
    amaker: Maker, elsewhere: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    async with amaker() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)

    assert elsewhere.sent == []
    assert handle.job_id in caplog.text


async def test_the_queue_does_not_stop_the_event_loop(
    amaker: Maker, elsewhere: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(elsewhere, "enqueue_all", lambda envelopes: threads.append(threading.get_ident()))
    async with amaker.begin():
        note.perform_later(1)

    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_a_callback_runs_in_the_thread_of_the_loop(amaker: Maker) -> None:
    ran: list[object] = []
    async with amaker.begin():
        on_commit(lambda: ran.append(asyncio.get_running_loop()))

    assert ran == [asyncio.get_running_loop()]


async def test_in_the_transaction_all_jobs_are_written_by_one_statement(
    amaker: Maker, async_engine: AsyncEngine, awithin: Joining
) -> None:
    statements = Statements(async_engine.sync_engine)
    async with amaker.begin() as session:
        order = Order(name="a")
        session.add(order)
        for number in range(20):
            note.perform_later(number)
        note.perform_later(order)

        assert statements.seen == []

    assert len(statements.inserts("queue")) == 1
    assert awithin.stored[:20] == [str(number) for number in range(20)]
    assert str(named(Order, "1")) in awithin.stored[20]


async def test_in_the_transaction_a_rollback_drops_them(amaker: Maker, awithin: Joining) -> None:
    async with amaker() as session:
        session.add(Order(name="a"))
        note.perform_later(1)
        await session.rollback()

    assert awithin.writes == []


async def test_concurrent_tasks_do_not_see_each_others_transactions(amaker: Maker, elsewhere: Recording) -> None:
    async def request(number: int) -> None:
        async with amaker() as session:
            session.add(Order(name=str(number)))
            note.perform_later(number)
            await asyncio.sleep(0.001 * (number % 3))
            if number % 2:
                await session.rollback()
            else:
                await session.commit()

    for start in range(0, 20, 5):  # SQLite has one writer
        await asyncio.gather(*(request(number) for number in range(start, start + 5)))

    assert sorted(elsewhere.sent) == list(range(0, 20, 2))


async def test_a_task_of_a_transaction_waits_for_it(amaker: Maker, elsewhere: Recording) -> None:
    async def child() -> None:
        note.perform_later(1)

    async with amaker.begin():
        await asyncio.create_task(child())
        await asyncio.to_thread(note.perform_later, 2)

        assert elsewhere.sent == []

    assert elsewhere.sent == [1, 2]


async def test_a_task_that_outlives_the_transaction_does_not_wait_for_the_next_one(
    amaker: Maker, elsewhere: Recording
) -> None:
    async def child() -> None:
        await ended.wait()
        note.perform_later(1)

    ended = asyncio.Event()
    async with amaker() as session:
        async with session.begin():
            task = asyncio.create_task(child())
        async with session.begin():
            ended.set()
            await task

            assert elsewhere.sent == [1]


async def test_many_transactions_in_one_task_leave_nothing_behind(amaker: Maker, elsewhere: Recording) -> None:
    for number in range(5):
        async with amaker() as session:
            await session.scalars(select(Order))
            note.perform_later(number)

        assert elsewhere.sent == list(range(number + 1))


def test_a_transaction_that_began_in_another_threads_context_counts_where_it_is_used(
    maker: sessionmaker[Session], elsewhere: Recording
) -> None:
    """As in a web framework that runs each dependency of a request in a copy of the request's context."""
    with maker() as session:
        asyncio.run(_in_a_copy(lambda: session.scalars(select(Order)).all()))
        session.add(Order(name="a"))
        note.perform_later(1)

        assert elsewhere.sent == []

        session.rollback()

    assert elsewhere.sent == []


def test_a_record_as_argument_brings_its_session_along(maker: sessionmaker[Session], elsewhere: Recording) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
    with maker() as session:
        [order] = asyncio.run(_in_a_copy(lambda: session.scalars(select(Order)).all()))
        order.name = "b"
        note.perform_later(order)

        assert elsewhere.sent == []

        session.commit()

    assert len(elsewhere.sent) == 1


async def _in_a_copy(function: Any) -> Any:
    async def run() -> Any:
        return function()

    return await asyncio.create_task(run())


async def test_a_commit_that_fails_drops_the_job(amaker: Maker, elsewhere: Recording) -> None:
    async with amaker.begin() as session:
        session.add(Order(name="a"))
    with pytest.raises(IntegrityError):
        async with amaker.begin() as session:
            session.add(Order(name="a"))
            handle = note.perform_later(1)

    assert (elsewhere.sent, handle.enqueued) == ([], False)


async def test_a_connection_lost_at_the_commit_is_not_taken_for_a_commit(
    amaker: Maker, async_engine: AsyncEngine, elsewhere: Recording
) -> None:
    def lose(_connection: Any) -> None:
        raise ConnectionError

    async with amaker() as session:
        await session.scalars(select(Order))
        handle = note.perform_later(1)
        event.listen(async_engine.sync_engine, "commit", lose)
        with pytest.raises(ConnectionError):
            await session.commit()
        event.remove(async_engine.sync_engine, "commit", lose)

    assert (elsewhere.sent, handle.enqueued) == ([], False)
    assert "not known whether it took place" in str(handle.enqueue_error)


async def test_savepoints_three_deep_go_up_one_by_one_and_may_end_with_their_outer_one(
    amaker: Maker, elsewhere: Recording
) -> None:
    async with amaker.begin() as session:
        async with session.begin_nested() as first:
            note.perform_later(1)
            async with session.begin_nested():
                note.perform_later(2)
                async with session.begin_nested() as third:
                    note.perform_later(3)
                    await third.rollback()
            await first.commit()
        outer = await session.begin_nested()
        await session.begin_nested()
        await session.begin_nested()
        note.perform_later(4)
        await outer.rollback()

    assert elsewhere.sent == [1, 2]


async def test_a_job_waits_for_the_outer_session_too(amaker: Maker, elsewhere: Recording) -> None:
    async with amaker.begin():
        async with amaker.begin():
            note.perform_later(1)

        assert elsewhere.sent == []

    assert elsewhere.sent == [1]


@pytest.mark.parametrize("hook", ["before_commit", "before_flush", "after_flush", "after_commit"])
async def test_jobs_of_hooks_leave_with_the_commit(async_engine: AsyncEngine, elsewhere: Recording, hook: str) -> None:
    class Hooked(Session):
        """Sessions of this test alone."""

    event.listen(Hooked, hook, lambda *_: note.perform_later(hook))
    hooked = async_sessionmaker(async_engine, sync_session_class=Hooked)
    tenantjobs_sqlalchemy.install(hooked)
    async with hooked.begin() as session:
        session.add(Order(name="a"))

        assert elsewhere.sent == []
    tenantjobs_sqlalchemy.uninstall()

    assert elsewhere.sent == [hook]


async def test_a_scoped_session_holds_jobs_until_it_is_removed(amaker: Maker, elsewhere: Recording) -> None:
    registry = async_scoped_session(amaker, scopefunc=asyncio.current_task)
    await registry.scalars(select(Order))
    note.perform_later(1)

    assert elsewhere.sent == []

    await registry.remove()

    assert elsewhere.sent == [1]

    registry.add(Order(name="a"))
    note.perform_later(2)
    await registry.commit()
    await registry.remove()

    assert elsewhere.sent == [1, 2]


@pytest.mark.parametrize("mode", ["create_savepoint", "rollback_only", "conditional_savepoint", "control_fully"])
async def test_in_a_test_that_wraps_everything_in_a_transaction_jobs_leave_with_the_commit(
    async_engine: AsyncEngine, amaker: Maker, elsewhere: Recording, mode: Any
) -> None:
    async with async_engine.connect() as connection:
        outer = await connection.begin()
        async with amaker(bind=connection, join_transaction_mode=mode) as session:
            session.add(Order(name="a"))
            note.perform_later(1)
            await session.commit()

            assert elsewhere.sent == [1]

            session.add(Order(name="b"))
            note.perform_later(2)
            await session.rollback()

            assert elsewhere.sent == [1]
        if outer.is_active:
            await outer.rollback()

"""With the outbox: jobs of a queue elsewhere commit with the application's rows, and are published after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import adapter, job, outbox, runtime, testing
from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tenantjobs.handle import Handle
from tenantjobs_db import schema, tables
from tests.tenantjobs_sqlalchemy.conftest import Order, Recording, Statements, named

Maker = sessionmaker[Session]
AMaker = async_sessionmaker[AsyncSession]


@job(name="tests.outbox.note", tenancy="none")
def note(value: Any) -> None: ...


@pytest.fixture
def waiting(engine: Engine, elsewhere: Recording) -> Iterator[Any]:
    """The outbox is configured; what waits in it."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(delete(tables.outbox))

    def names() -> list[str]:
        with engine.connect() as connection:
            return list(connection.scalars(select(tables.outbox.c.id)))

    with testing.override(adapter="test", outbox=True, db={"engine": engine}):
        yield names


def relayed() -> int:
    found: Any = outbox.configured()
    return int(found.relay.relay())


def test_a_job_is_written_with_the_commit_and_published_at_once(
    maker: Maker, engine: Engine, elsewhere: Recording, waiting: Any
) -> None:
    statements = Statements(engine)
    with maker.begin() as session:
        session.add(Order(name="a"))
        handles = [note.perform_later(number) for number in range(20)]

        assert {handle.enqueued for handle in handles} == {None}
        assert statements.inserts("tj_outbox") == []

    assert len(statements.inserts("tj_outbox")) == 1
    assert elsewhere.batches == [list(range(20))]
    assert {handle.enqueued for handle in handles} == {True}
    assert waiting() == []


def test_it_is_there_when_the_transaction_commits(
    maker: Maker, elsewhere: Recording, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by who looks before anything is published."""
    seen: list[list[str]] = []
    monkeypatch.setattr(elsewhere, "enqueue_all", lambda envelopes: seen.append(waiting()))
    with maker.begin():
        handle = note.perform_later(1)

    assert seen == [[handle.job_id]]


def test_a_rollback_leaves_nothing(maker: Maker, elsewhere: Recording, waiting: Any) -> None:
    with pytest.raises(ZeroDivisionError), maker.begin() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)
        raise ZeroDivisionError

    assert (elsewhere.sent, waiting(), handle.enqueued) == ([], [], False)


def test_a_commit_that_fails_leaves_nothing(maker: Maker, elsewhere: Recording, waiting: Any) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
    with pytest.raises(IntegrityError), maker.begin() as session:
        session.add(Order(name="a"))
        note.perform_later(1)

    assert (elsewhere.sent, waiting()) == ([], [])


def test_savepoints_count(maker: Maker, engine: Engine, elsewhere: Recording, waiting: Any) -> None:
    statements = Statements(engine)
    with maker.begin() as session:
        note.perform_later(1)
        with session.begin_nested() as first:
            note.perform_later(2)
            with session.begin_nested():
                note.perform_later(3)
                with session.begin_nested() as third:
                    note.perform_later(4)
                    third.rollback()
            first.commit()
        with session.begin_nested() as undone:
            note.perform_later(5)
            undone.rollback()

    assert elsewhere.sent == [1, 2, 3]
    assert len(statements.inserts("tj_outbox")) == 1


def test_a_session_that_read_and_is_closed_sends_its_jobs_by_themselves(
    maker: Maker, engine: Engine, elsewhere: Recording, waiting: Any
) -> None:
    statements = Statements(engine)
    with maker() as session:
        session.scalars(select(Order)).all()
        note.perform_later(1)

    assert elsewhere.sent == [1]
    assert statements.inserts("tj_outbox") == []


def test_a_session_that_wrote_and_is_closed_drops_its_jobs(maker: Maker, elsewhere: Recording, waiting: Any) -> None:
    with maker() as session:
        session.execute(insert(Order).values(name="a"))
        handle = note.perform_later(1)

    assert (elsewhere.sent, waiting(), handle.enqueued) == ([], [], False)


def test_a_pending_record_travels_by_the_key_that_the_flush_gives_it(
    maker: Maker, elsewhere: Recording, waiting: Any
) -> None:
    with maker.begin() as session:
        order = Order(name="a")
        session.add(order)
        note.perform_later(order)

    assert str(named(Order, "1")) in str(elsewhere.sent)


def test_a_job_waits_for_the_session_on_the_outbox_and_not_for_others(
    maker: Maker, elsewhere: Recording, waiting: Any
) -> None:
    """As in the transaction: it is committed with the innermost session there."""
    with maker.begin():
        with maker.begin():
            note.perform_later(1)

        assert elsewhere.sent == [1]


def test_what_cannot_be_published_is_left_to_the_relay(
    maker: Maker, elsewhere: Recording, waiting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere.error = ConnectionError("the broker is down")
    with maker.begin():
        handle = note.perform_later(1)

    assert handle.enqueued is True
    assert waiting() == [handle.job_id]
    assert "the broker is down" in caplog.text

    elsewhere.error = None

    assert relayed() == 1
    assert (elsewhere.sent, waiting()) == ([1], [])
    assert elsewhere.envelopes[0].id == handle.job_id


def test_what_waits_for_the_relay_can_be_taken_back(maker: Maker, elsewhere: Recording, waiting: Any) -> None:
    elsewhere.error = ConnectionError("the broker is down")
    with maker.begin():
        handle = note.perform_later(1)
        other = note.perform_later(2)
    elsewhere.error = None

    assert handle.cancel() is True
    assert handle.enqueued is False
    assert waiting() == [other.job_id]
    assert relayed() == 1
    assert elsewhere.sent == [2]

    with pytest.raises(UnsupportedCapability):  # the queue has it, and this one gives nothing back
        other.cancel()


def test_a_session_on_a_connection_from_outside_does_without(
    engine: Engine, maker: Maker, elsewhere: Recording, waiting: Any
) -> None:
    """As in a test that wraps everything in a transaction: it is not known when that commits."""
    statements = Statements(engine)
    with engine.connect() as connection:
        outer = connection.begin()
        with maker(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(Order(name="a"))
            note.perform_later(1)
            session.commit()

        assert elsewhere.sent == [1]

        outer.rollback()

    assert statements.inserts("tj_outbox") == []


def test_a_session_on_another_engine_goes_past_it_and_says_so_once(
    maker: Maker, url: str, elsewhere: Recording, waiting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = create_engine(url)
    for number in range(2):
        with maker.begin() as read_only:
            read_only.connection()
            note.perform_later("with it")
        with maker(bind=other) as session:
            session.add(Order(name=f"{number}"))
            session.flush()
            note.perform_later("past it")
            session.commit()
    other.dispose()

    assert elsewhere.sent == ["with it", "past it"] * 2
    assert caplog.text.count("is sent after the commit without it") == 1
    assert "tests.outbox.note" in caplog.text


def test_without_the_applications_engine_it_is_refused_at_the_call(maker: Maker, elsewhere: Recording) -> None:
    with testing.override(adapter="test", outbox=True), maker() as session:
        session.begin()
        with pytest.raises(ConfigurationError, match=r'engine = "shop.db:engine"'):
            note.perform_later(1)


def test_with_the_adapter_inline_it_is_refused(maker: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with testing.override(adapter="inline", outbox=True, db={"engine": engine}), maker() as session:
        session.begin()
        with pytest.raises(ConfigurationError, match="no queue to publish to"):
            note.perform_later(1)


class TestAsyncSession:
    @pytest.fixture
    def waiting(self, waiting: Any, async_engine: AsyncEngine) -> Iterator[Any]:
        with testing.override(db={"engine": async_engine}):
            yield waiting

    async def test_a_job_is_written_with_the_commit_and_published_at_once(
        self, amaker: AMaker, async_engine: AsyncEngine, elsewhere: Recording, waiting: Any
    ) -> None:
        statements = Statements(async_engine.sync_engine)
        async with amaker.begin() as session:
            session.add(Order(name="a"))
            for number in range(5):
                note.perform_later(number)
            handle = await note.aperform_later(5)

            assert handle.enqueued is None

        assert len(statements.inserts("tj_outbox")) == 1
        assert elsewhere.batches == [list(range(6))]
        assert waiting() == []

    async def test_publishing_does_not_stop_the_event_loop(
        self, amaker: AMaker, elsewhere: Recording, waiting: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[int] = []
        monkeypatch.setattr(elsewhere, "enqueue_all", lambda envelopes: threads.append(threading.get_ident()))
        async with amaker.begin():
            note.perform_later(1)

        assert len(threads) == 1
        assert threads[0] != threading.get_ident()

    async def test_rollbacks_and_savepoints_count(self, amaker: AMaker, elsewhere: Recording, waiting: Any) -> None:
        async with amaker() as session:
            session.add(Order(name="a"))
            note.perform_later(1)
            await session.rollback()
        async with amaker.begin() as session:
            async with session.begin_nested():
                note.perform_later(2)
            async with session.begin_nested() as savepoint:
                note.perform_later(3)
                await savepoint.rollback()

        assert (elsewhere.sent, waiting()) == ([2], [])

    async def test_concurrent_tasks_publish_what_they_committed(
        self, amaker: AMaker, elsewhere: Recording, waiting: Any
    ) -> None:
        async def request(number: int) -> None:
            async with amaker() as session:
                session.add(Order(name=str(number)))
                note.perform_later(number)
                await (session.rollback() if number % 2 else session.commit())

        for start in range(0, 20, 5):  # SQLite has one writer
            await asyncio.gather(*(request(number) for number in range(start, start + 5)))

        assert sorted(elsewhere.sent) == list(range(0, 20, 2))
        assert waiting() == []


def test_jobs_reach_a_queue_in_a_database_of_its_own(
    maker: Maker, engine: Engine, waiting: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with testing.override(adapter="db", outbox=True, db={"engine": engine, "url": f"sqlite:///{tmp_path}/queue.db"}):
        queue: Any = adapter.configured()
        with maker.begin() as session:
            session.add(Order(name="a"))
            note.perform_later(1)
        with pytest.raises(ZeroDivisionError), maker.begin():
            note.perform_later(2)
            raise ZeroDivisionError

        assert runtime.settings().outbox
        assert queue.queue.counts() == {"ready": 1}
        assert testing.drain() == 1
    with engine.connect() as connection:
        assert connection.scalars(select(tables.jobs.c.id)).all() == []


class TestAConnectionThatIsLostAtTheCommit:
    """Nobody knows whether the commit took place; the outbox does."""

    def test_before_it(self, maker: Maker, engine: Engine, elsewhere: Recording, waiting: Any) -> None:
        lost = self.commit(maker, engine, takes_place=False)

        assert (lost.enqueued, elsewhere.sent, waiting()) == (False, [], [])

    def test_after_it(self, maker: Maker, engine: Engine, elsewhere: Recording, waiting: Any) -> None:
        lost = self.commit(maker, engine, takes_place=True)

        assert (lost.enqueued, elsewhere.sent, waiting()) == (False, [], [lost.job_id])
        assert "in the outbox if it did" in str(lost.enqueue_error)

        with engine.begin() as connection:
            connection.execute(update(tables.outbox).values(relay_at=datetime(2001, 1, 1, tzinfo=UTC)))

        assert relayed() == 1
        assert elsewhere.sent == [1]

    def commit(self, maker: Maker, engine: Engine, *, takes_place: bool) -> Handle:
        def lose(connection: Any) -> None:
            (connection.commit if takes_place else connection.rollback)()
            raise OperationalError("COMMIT", None, ConnectionError("the server hung up"))

        with maker() as session:
            session.add(Order(name="a"))
            handle = note.perform_later(1)
            with pytest.MonkeyPatch.context() as patch, pytest.raises(OperationalError):
                patch.setattr(engine.dialect, "do_commit", lose)
                session.commit()
        return handle

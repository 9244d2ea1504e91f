"""In the transaction: jobs whose queue lives in the application's database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import job, on_commit
from tenantjobs.errors import SerializationError
from tests.tenantjobs_sqlalchemy.conftest import POSTGRES, Base, Joining, Order, Statements, hang_up, named

Maker = sessionmaker[Session]


@job(name="tests.within.note", tenancy="none")
def note(value: Any) -> None: ...


def test_all_jobs_of_a_transaction_are_written_by_one_statement_with_its_commit(
    maker: Maker, engine: Engine, within: Joining
) -> None:
    statements = Statements(engine)
    with maker.begin() as session:
        session.add(Order(name="a"))
        handles = [note.perform_later(number) for number in range(50)]
        with session.begin_nested():
            handles.append(note.perform_later(50))

        assert statements.inserts("queue") == []
        assert {handle.enqueued for handle in handles} == {None}

    assert len(statements.inserts("queue")) == 1
    assert within.stored == [str(number) for number in range(51)]
    assert within.sent == []
    assert {handle.enqueued for handle in handles} == {True}


def test_a_rollback_drops_the_jobs_without_a_statement(maker: Maker, engine: Engine, within: Joining) -> None:
    statements = Statements(engine)
    with pytest.raises(ZeroDivisionError), maker.begin() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)
        raise ZeroDivisionError

    assert statements.inserts("queue") == []
    assert handle.enqueued is False


def test_a_rolled_back_savepoint_drops_its_jobs(maker: Maker, within: Joining) -> None:
    with maker.begin() as session:
        note.perform_later(1)
        with session.begin_nested() as savepoint:
            session.add(Order(name="a"))
            note.perform_later(2)
            savepoint.rollback()

    assert within.stored == ["1"]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("by_session", [True, False])
def test_a_commit_with_savepoints_open_writes_their_jobs_once(
    maker: Maker, engine: Engine, within: Joining, depth: int, by_session: bool
) -> None:
    statements = Statements(engine)
    with maker() as session:
        root = session.begin()
        note.perform_later(0)
        for level in range(1, depth + 1):
            session.begin_nested()
            session.add(Order(name=str(level)))
            note.perform_later(level)
        if by_session:
            session.commit()
        else:
            root.commit()

    assert within.stored == [str(level) for level in range(depth + 1)]
    assert len(statements.inserts("queue")) == 1


def test_the_release_of_an_outer_savepoint_is_not_the_commit(maker: Maker, engine: Engine, within: Joining) -> None:
    statements = Statements(engine)
    with maker.begin() as session:
        outer = session.begin_nested()
        session.begin_nested()
        session.add(Order(name="a"))
        note.perform_later(1)
        outer.commit()

        assert statements.inserts("queue") == []

    assert within.stored == ["1"]


def test_a_session_that_read_and_is_closed_sends_its_jobs_by_themselves(maker: Maker, within: Joining) -> None:
    with maker() as session:
        session.scalars(select(Order)).all()
        note.perform_later(1)

    assert within.sent == [1]


def test_a_session_that_wrote_and_is_closed_drops_its_jobs(
    maker: Maker, within: Joining, caplog: pytest.LogCaptureFixture
) -> None:
    with maker() as session:
        session.add(Order(name="a"))
        session.flush()
        handle = note.perform_later(1)

    assert (within.sent, within.stored, handle.enqueued) == ([], [], False)
    assert handle.job_id in caplog.text


def test_an_error_of_the_queue_aborts_the_commit(
    maker: Maker, within: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(within, "enqueue_within", fail)
    with pytest.raises(ConnectionError), maker.begin() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)

    assert handle.enqueued is False

    with maker() as session:
        assert session.scalars(select(Order)).all() == []


def test_a_failing_commit_drops_the_jobs(maker: Maker, within: Joining) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
    with pytest.raises(IntegrityError), maker.begin() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)

    assert (within.stored, handle.enqueued) == ([], False)


def test_a_commit_that_fails_after_the_jobs_were_written_drops_them(maker: Maker, within: Joining) -> None:
    def refuse(session: Session) -> None:
        raise ZeroDivisionError

    event.listen(maker, "before_commit", refuse)
    with pytest.raises(ZeroDivisionError), maker.begin() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)

    assert within.writes == [["1"]]
    assert (within.stored, handle.enqueued) == ([], False)


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
def test_a_connection_lost_at_the_commit_leaves_it_to_the_database(
    maker: Maker, engine: Engine, within: Joining
) -> None:
    with maker() as session:
        session.add(Order(name="a"))
        handle = note.perform_later(1)
        event.listen(engine, "commit", hang_up)
        with pytest.raises(OperationalError):
            session.commit()
        event.remove(engine, "commit", hang_up)

    assert handle.enqueued is False
    assert "it is in the queue, or in the outbox if it did" in str(handle.enqueue_error)
    assert within.stored == []


class TestPendingRecords:
    def test_a_pending_record_travels_by_the_key_of_the_last_flush(self, maker: Maker, within: Joining) -> None:
        with maker.begin() as session:
            order = Order(name="a")
            session.add(order)
            note.perform_later(order)

        assert str(named(Order, "1")) in within.stored[0]

    def test_one_without_a_key_aborts_the_commit_and_nothing_is_stored(self, maker: Maker, within: Joining) -> None:
        with pytest.raises(SerializationError), maker.begin() as session:
            order = Order(name="a")
            session.add(order)
            note.perform_later("first")
            note.perform_later(order)
            session.expunge(order)

        assert (within.writes, within.stored) == ([], [])


class TestHooks:
    """Jobs that are enqueued while the transaction commits."""

    def test_jobs_of_an_earlier_before_commit_hook_are_written_with_the_others(
        self, maker: Maker, within: Joining
    ) -> None:
        event.listen(maker, "before_commit", lambda session: note.perform_later(2), insert=True)
        with maker.begin():
            note.perform_later(1)

        assert within.writes == [["1", "2"]]

    def test_jobs_of_a_later_before_commit_hook_are_written_at_once(self, maker: Maker, within: Joining) -> None:
        event.listen(maker, "before_commit", lambda session: note.perform_later(2))
        with maker.begin():
            note.perform_later(1)

        assert within.writes == [["1"], ["2"]]
        assert within.stored == ["1", "2"]

    def test_a_later_hook_may_add_the_record(self, maker: Maker, within: Joining) -> None:
        def log(session: Session) -> None:
            order = Order(name="log")
            session.add(order)
            note.perform_later(order)

        event.listen(maker, "before_commit", log)
        with maker.begin() as session:
            session.add(Order(name="a"))

        assert str(named(Order, "2")) in within.stored[0]

    @pytest.mark.parametrize("hook", ["before_flush", "after_flush", "after_flush_postexec"])
    @pytest.mark.parametrize("first", [True, False])
    def test_jobs_of_flush_hooks_are_written_with_the_commit(
        self, maker: Maker, within: Joining, hook: str, first: bool
    ) -> None:
        event.listen(maker, hook, lambda *_: note.perform_later(hook), insert=first)
        with maker.begin() as session:
            session.add(Order(name="a"))

        assert within.stored == [hook]
        assert within.sent == []

    @pytest.mark.parametrize("hook", ["before_flush", "after_flush", "after_flush_postexec"])
    @pytest.mark.parametrize("first", [True, False])
    def test_those_of_a_flush_after_the_write_too(self, maker: Maker, within: Joining, hook: str, first: bool) -> None:
        event.listen(maker, "before_commit", lambda session: session.add(Order(name="late")))
        event.listen(maker, hook, lambda *_: note.perform_later(hook), insert=first)
        with maker.begin():
            pass

        assert within.stored == [hook]
        assert within.sent == []

    def test_after_flush_knows_the_key_of_a_new_record(self, maker: Maker, within: Joining) -> None:
        def announce(session: Session, _context: object) -> None:
            for record in session.new:
                note.perform_later(record)

        event.listen(maker, "after_flush", announce)
        with maker.begin() as session:
            session.add_all([Order(name="a"), Order(name="b")])

        assert len(within.stored) == 2
        assert within.writes == [within.stored]

    def test_a_savepoint_of_a_later_hook_takes_its_jobs_along(self, maker: Maker, within: Joining) -> None:
        def hook(session: Session) -> None:
            if session.get_nested_transaction() is None:
                with session.begin_nested() as savepoint:
                    handles.append(note.perform_later(2))
                    savepoint.rollback()
                with session.begin_nested():
                    handles.append(note.perform_later(3))

        handles: list[Any] = []
        event.listen(maker, "before_commit", hook)
        with maker.begin():
            note.perform_later(1)

        assert within.stored == ["1", "3"]
        assert [handle.enqueued for handle in handles] == [False, True]

    def test_jobs_of_an_after_commit_hook_are_sent_by_themselves(self, maker: Maker, within: Joining) -> None:
        event.listen(maker, "after_commit", lambda session: note.perform_later(2))
        with maker.begin():
            note.perform_later(1)

        assert (within.stored, within.sent) == (["1"], [2])


class TestSeveralSessions:
    def test_the_innermost_session_on_the_database_writes_them(
        self, maker: Maker, engine: Engine, within: Joining
    ) -> None:
        other = create_engine("sqlite://")
        Base.metadata.create_all(other)
        elsewhere = sessionmaker(other)
        tenantjobs_sqlalchemy.install(elsewhere)
        with maker.begin():
            with elsewhere.begin() as inner:
                inner.add(Order(name="a"))
                note.perform_later(1)

            assert within.writes == []

        assert within.writes == [["1"]]

    def test_a_job_does_not_wait_for_an_outer_session_there(self, maker: Maker, within: Joining) -> None:
        with maker.begin():
            with maker.begin():
                note.perform_later(1)

            assert within.stored == ["1"]

    def test_callbacks_wait_for_both(self, maker: Maker, within: Joining) -> None:
        ran: list[int] = []
        with maker.begin():
            with maker.begin():
                on_commit(lambda: ran.append(1))

            assert ran == []

        assert ran == [1]

    def test_a_session_with_a_bind_for_each_model_is_asked_again_at_the_commit(
        self, maker: Maker, engine: Engine, within: Joining
    ) -> None:
        routed = sessionmaker(binds={Order: engine})
        tenantjobs_sqlalchemy.install(routed)
        with routed.begin() as session:
            note.perform_later(1)
            session.add(Order(name="a"))

        assert (within.writes, within.sent) == ([["1"]], [])


def test_a_session_on_a_connection_joins_its_transaction(maker: Maker, engine: Engine, within: Joining) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with maker(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.begin()
            note.perform_later(1)
            session.execute(insert(Order).values(name="a"))
            note.perform_later(2)
            session.commit()

        assert within.writes == [["1", "2"]]

        outer.rollback()

    assert within.stored == []

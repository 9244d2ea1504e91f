"""After the commit: jobs whose queue is somewhere else."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from sqlalchemy import Engine, StaticPool, create_engine, event, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import job, on_commit, perform_all_later, testing
from tenantjobs.errors import EnqueueError, SerializationError
from tests.tenantjobs_sqlalchemy.conftest import POSTGRES, Account, Base, Order, Recording, hang_up, named

Maker = sessionmaker[Session]


@job(name="tests.transactions.note", tenancy="none")
def note(value: Any) -> None: ...


@job(name="tests.transactions.end", tenancy="none")
def end(how: str) -> None:
    if how:
        raise {"ValueError": ValueError, "SystemExit": SystemExit}[how]


@job(name="tests.transactions.urgent", tenancy="none", enqueue_after_commit=False)
def urgent(value: Any) -> None: ...


def test_without_a_transaction_a_job_leaves_at_the_call(maker: Maker, elsewhere: Recording) -> None:
    with maker():
        handle = note.perform_later(1)

        assert elsewhere.sent == [1]
        assert handle.enqueued is True


@pytest.mark.parity("1a.27")
def test_a_job_leaves_with_the_commit(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin():
        handle = note.perform_later(1)

        assert elsewhere.sent == []
        assert handle.enqueued is None

    assert elsewhere.sent == [1]
    assert handle.enqueued is True


def test_the_jobs_of_a_transaction_leave_together_in_their_order(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin():
        note.perform_later(1)
        perform_all_later([note.call(2), note.call(3)])

    assert elsewhere.batches == [[1, 2, 3]]


@pytest.mark.parity("1a.27")
def test_a_rollback_drops_the_job(maker: Maker, elsewhere: Recording) -> None:
    with pytest.raises(ZeroDivisionError), maker.begin():
        handle = note.perform_later(1)
        raise ZeroDivisionError

    assert elsewhere.sent == []
    assert handle.enqueued is False


def test_a_job_that_was_taken_back_does_not_leave(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin():
        handle = note.perform_later(1)
        note.perform_later(2)

        assert handle.cancel() is True

    assert elsewhere.sent == [2]
    assert handle.enqueued is False


@pytest.mark.parity("1a.27")
def test_a_job_that_opts_out_leaves_at_the_call(maker: Maker, elsewhere: Recording) -> None:
    with pytest.raises(ZeroDivisionError), maker.begin():
        urgent.perform_later(1)
        raise ZeroDivisionError

    assert elsewhere.sent == [1]


class TestAutobegin:
    def test_a_session_that_read_and_is_closed_sends_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            session.scalars(select(Order)).all()
            handle = note.perform_later(1)

            assert elsewhere.sent == []

        assert elsewhere.sent == [1]
        assert handle.enqueued is True

    def test_a_session_that_read_and_is_committed_sends_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            session.scalars(select(Order)).all()
            note.perform_later(1)
            session.commit()

            assert elsewhere.sent == [1]

    def test_a_session_that_read_and_is_rolled_back_drops_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            session.scalars(select(Order)).all()
            note.perform_later(1)
            session.rollback()

        assert elsewhere.sent == []

    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(lambda session: (session.add(Order(name="a")), session.flush()), id="flush"),
            pytest.param(lambda session: session.add(Order(name="a")), id="pending"),
            pytest.param(lambda session: session.execute(insert(Order).values(name="a")), id="statement"),
            pytest.param(lambda session: session.execute(text("INSERT INTO orders (name) VALUES ('a')")), id="text"),
            pytest.param(lambda session: session.connection().execute(insert(Order), [{"name": "a"}]), id="core"),
            pytest.param(lambda session: session.bulk_save_objects([Order(name="a")]), id="bulk"),
        ],
    )
    @pytest.mark.parametrize("before", [True, False])
    def test_a_session_that_wrote_and_is_closed_drops_its_jobs_and_says_so(
        self, maker: Maker, elsewhere: Recording, caplog: pytest.LogCaptureFixture, write: Any, before: bool
    ) -> None:
        with maker() as session:
            session.scalars(select(Order)).all()
            if before:
                write(session)
            handle = note.perform_later(1)
            if not before:
                write(session)

        assert elsewhere.sent == []
        assert handle.enqueued is False
        assert f"tests.transactions.note id={handle.job_id}" in caplog.text

    def test_a_changed_record_counts_as_written(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            session.add(Order(name="a"))
        with maker() as session:
            session.scalars(select(Order)).one().name = "b"
            handle = note.perform_later(1)

        assert handle.enqueued is False

    def test_what_a_rolled_back_savepoint_wrote_is_not_written(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            session.scalars(select(Order)).all()
            with session.begin_nested() as savepoint:
                session.execute(insert(Order).values(name="a"))
                savepoint.rollback()
            note.perform_later(1)

        assert elsewhere.sent == [1]

    def test_a_close_with_a_savepoint_open_treats_its_jobs_like_the_others(
        self, maker: Maker, elsewhere: Recording, caplog: pytest.LogCaptureFixture
    ) -> None:
        for wrote in (False, True):
            with maker() as session:
                session.begin_nested()
                session.begin_nested()
                session.scalars(select(Order)).all()
                if wrote:
                    session.add(Order(name="a"))
                handle = note.perform_later(wrote)

        assert elsewhere.sent == [False]
        assert f"id={handle.job_id}" in caplog.text

    def test_a_forgotten_session_drops_its_jobs_and_says_so(
        self, maker: Maker, elsewhere: Recording, caplog: pytest.LogCaptureFixture
    ) -> None:
        session = maker()
        session.begin()
        handle = note.perform_later(1)
        del session
        gc.collect()

        assert elsewhere.sent == []
        assert handle.enqueued is False
        assert f"id={handle.job_id}" in caplog.text


class TestSavepoints:
    def test_a_released_savepoint_keeps_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            with session.begin_nested():
                note.perform_later(1)

            assert elsewhere.sent == []

        assert elsewhere.sent == [1]

    def test_a_rolled_back_savepoint_drops_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            note.perform_later(1)
            with session.begin_nested() as savepoint:
                handle = note.perform_later(2)
                savepoint.rollback()

            assert handle.enqueued is False

            note.perform_later(3)

        assert elsewhere.sent == [1, 3]

    def test_an_outer_savepoint_takes_the_inner_ones_along(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            outer = session.begin_nested()
            note.perform_later(1)
            with session.begin_nested():
                note.perform_later(2)
            session.begin_nested()
            note.perform_later(3)
            outer.rollback()
            note.perform_later(4)

        assert elsewhere.sent == [4]

    def test_savepoints_three_deep_go_up_one_by_one(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            with session.begin_nested() as first:
                note.perform_later(1)
                with session.begin_nested():
                    note.perform_later(2)
                    with session.begin_nested() as third:
                        note.perform_later(3)
                        third.rollback()
                first.commit()

        assert elsewhere.sent == [1, 2]

    def test_a_commit_of_the_session_releases_what_is_open(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            session.begin_nested()
            note.perform_later(1)
            session.begin_nested()
            note.perform_later(2)
            session.commit()

            assert elsewhere.sent == [1, 2]

    def test_a_commit_of_the_root_releases_what_is_open(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            session.begin_nested()
            note.perform_later(1)
            session.begin_nested()
            note.perform_later(2)

        assert elsewhere.sent == [1, 2]

    def test_a_rollback_of_the_session_drops_what_is_released(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            with session.begin_nested():
                note.perform_later(1)
            session.rollback()

        assert elsewhere.sent == []

    def test_a_savepoint_that_fails_to_flush_drops_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            session.add(Order(name="a"))
            note.perform_later(1)
            with pytest.raises(IntegrityError), session.begin_nested():
                note.perform_later(2)
                session.add(Order(name="a"))

        assert elsewhere.sent == [1]


class TestSeveralSessions:
    def test_a_job_waits_for_the_outer_session_too(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin():
            with maker.begin():
                note.perform_later(1)

            assert elsewhere.sent == []

        assert elsewhere.sent == [1]

    def test_the_rollback_of_the_inner_one_drops_its_jobs(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin():
            note.perform_later(1)
            with maker() as inner:
                inner.begin()
                note.perform_later(2)
                inner.rollback()

        assert elsewhere.sent == [1]

    def test_the_rollback_of_the_outer_one_drops_them_all(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as outer:
            outer.begin()
            with maker.begin():
                handle = note.perform_later(1)
            outer.rollback()

        assert elsewhere.sent == []
        assert handle.enqueued is False

    def test_they_go_on_to_the_savepoint_that_is_open(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as outer:
            with outer.begin_nested() as savepoint:
                with maker.begin():
                    note.perform_later(1)
                savepoint.rollback()

        assert elsewhere.sent == []

    def test_the_outer_one_may_end_first(self, maker: Maker, elsewhere: Recording) -> None:
        outer, inner = maker(), maker()
        outer.begin()
        inner.begin()
        note.perform_later(1)
        outer.commit()

        assert elsewhere.sent == []

        inner.commit()

        assert elsewhere.sent == [1]

    def test_sessions_on_two_databases_are_waited_for_alike(self, maker: Maker, elsewhere: Recording) -> None:
        other = sessionmaker(create_engine("sqlite://"))
        tenantjobs_sqlalchemy.install(other)
        with other.begin():
            with maker.begin() as session:
                session.add(Order(name="a"))
                note.perform_later(1)

            assert elsewhere.sent == []

        assert elsewhere.sent == [1]

    def test_a_session_that_is_not_installed_is_not_waited_for(
        self, maker: Maker, engine: Engine, elsewhere: Recording
    ) -> None:
        with Session(engine) as session:
            session.begin()
            note.perform_later(1)

            assert elsewhere.sent == [1]

    def test_not_even_if_a_record_of_it_is_passed(self, maker: Maker, engine: Engine, elsewhere: Recording) -> None:
        with maker.begin() as session:
            session.add(Order(name="a"))
        with Session(engine) as session:
            handle = note.perform_later(session.scalars(select(Order)).one())

            assert handle.enqueued is True


def test_a_session_is_used_again_with_nothing_left_behind(maker: Maker, elsewhere: Recording) -> None:
    with maker() as session:
        for number in range(3):
            session.begin()
            note.perform_later(number)
            if number == 1:
                session.close()  # read nothing, wrote nothing
            elif number == 2:
                session.rollback()
            else:
                session.commit()

    assert elsewhere.sent == [0, 1]


def test_a_scoped_session_holds_jobs_until_it_is_removed(engine: Engine, maker: Maker, elsewhere: Recording) -> None:
    registry = scoped_session(maker)
    registry.scalars(select(Order)).all()
    note.perform_later(1)

    assert elsewhere.sent == []

    registry.remove()

    assert elsewhere.sent == [1]

    registry.add(Order(name="a"))
    note.perform_later(2)
    registry.commit()

    assert elsewhere.sent == [1, 2]


class TestHooks:
    def test_jobs_of_before_commit_and_flush_hooks_belong_to_the_commit(
        self, maker: Maker, elsewhere: Recording
    ) -> None:
        event.listen(maker, "before_commit", lambda session: note.perform_later("before_commit"))
        event.listen(maker, "before_flush", lambda session, *_: note.perform_later("before_flush"))
        event.listen(maker, "after_flush", lambda session, *_: note.perform_later("after_flush"))
        with maker.begin() as session:
            session.add(Order(name="a"))

            assert elsewhere.sent == []

        assert elsewhere.sent == ["before_commit", "before_flush", "after_flush"]

    def test_they_are_dropped_with_it(self, maker: Maker, elsewhere: Recording) -> None:
        event.listen(maker, "after_flush", lambda session, *_: note.perform_later("after_flush"))
        with maker() as session:
            session.add(Order(name="a"))
            session.flush()
            session.rollback()

        assert elsewhere.sent == []

    def test_jobs_of_after_commit_hooks_leave_with_the_others(self, maker: Maker, elsewhere: Recording) -> None:
        event.listen(maker, "after_commit", lambda session: note.perform_later("after_commit"))
        with maker.begin() as session:
            session.add(Order(name="a"))

        assert elsewhere.sent == ["after_commit"]

    def test_an_after_commit_hook_that_raises_loses_no_job(
        self, engine: Engine, maker: Maker, elsewhere: Recording
    ) -> None:
        hooked = sessionmaker(engine)
        event.listen(hooked, "after_commit", lambda session: 1 / 0)
        tenantjobs_sqlalchemy.install(hooked)
        with hooked() as session:
            session.add(Order(name="a"))
            note.perform_later(1)
            with pytest.raises(ZeroDivisionError):
                session.commit()

        assert elsewhere.sent == [1]

    def test_jobs_of_a_hook_at_the_very_end_leave_at_once(
        self, engine: Engine, maker: Maker, elsewhere: Recording
    ) -> None:
        hooked = sessionmaker(engine)
        event.listen(hooked, "after_transaction_end", lambda session, ended: note.perform_later("end"))
        tenantjobs_sqlalchemy.install(hooked)
        with hooked.begin():
            note.perform_later(1)

        assert sorted(map(str, elsewhere.sent)) == ["1", "end"]

    def test_a_job_that_is_enqueued_while_jobs_are_sent_leaves_too(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin():
            on_commit(lambda: note.perform_later(2))
            note.perform_later(1)

        assert elsewhere.sent == [1, 2]


class TestFailures:
    def test_a_commit_that_fails_drops_the_job(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as session:
            session.add(Order(name="a"))
        with maker() as session:
            session.add(Order(name="a"))
            handle = note.perform_later(1)
            with pytest.raises(IntegrityError):
                session.commit()

        assert elsewhere.sent == []
        assert handle.enqueued is False

    def test_a_connection_lost_at_the_commit_is_not_taken_for_a_commit(
        self, maker: Maker, engine: Engine, elsewhere: Recording
    ) -> None:
        def lose(_connection: Any) -> None:
            raise ConnectionError

        with maker() as session:
            session.scalars(select(Order)).all()
            handle = note.perform_later(1)
            event.listen(engine, "commit", lose)
            with pytest.raises(ConnectionError):
                session.commit()
            event.remove(engine, "commit", lose)

        assert elsewhere.sent == []
        assert handle.enqueued is False
        assert f"id={handle.job_id}: the commit failed or its answer was lost" in str(handle.enqueue_error)
        assert "it was not sent, even if it did" in str(handle.enqueue_error)

    @pytest.mark.parametrize("url", [POSTGRES], indirect=True)
    def test_a_server_that_hangs_up_at_the_commit_is_not_taken_for_a_commit(
        self, maker: Maker, engine: Engine, elsewhere: Recording, caplog: pytest.LogCaptureFixture
    ) -> None:
        with maker() as session:
            session.add(Order(name="a"))
            handle = note.perform_later(1)
            on_commit(lambda: note.perform_later(2))
            event.listen(engine, "commit", hang_up)
            with pytest.raises(OperationalError):
                session.commit()
            event.remove(engine, "commit", hang_up)

        assert (elsewhere.sent, handle.enqueued) == ([], False)
        assert isinstance(handle.enqueue_error, EnqueueError)
        assert "1 callbacks of on_commit were not called" in caplog.text

    def test_a_commit_that_was_never_asked_for_is_not_in_doubt(self, maker: Maker, elsewhere: Recording) -> None:
        event.listen(maker, "before_commit", lambda session: 1 / 0)
        with maker() as session:
            session.add(Order(name="a"))
            handle = note.perform_later(1)
            with pytest.raises(ZeroDivisionError):
                session.commit()

        assert (elsewhere.sent, handle.enqueued, handle.enqueue_error) == ([], False, None)

    def test_two_databases_without_two_phases_of_which_one_fails(
        self, maker: Maker, engine: Engine, elsewhere: Recording
    ) -> None:
        """The other may have committed: nobody can say that the transaction took place."""

        def lose(_connection: Any) -> None:
            raise ConnectionError

        other = create_engine("sqlite://", poolclass=StaticPool)
        Base.metadata.create_all(other)
        with maker(binds={Order: engine, Account: other}) as session:
            session.add_all([Order(name="a"), Account(name="b")])
            session.flush()
            handle = note.perform_later(1)
            event.listen(other, "commit", lose)
            with pytest.raises(ConnectionError):
                session.commit()
        other.dispose()

        assert (elsewhere.sent, handle.enqueued) == ([], False)
        assert "not known whether it took place" in str(handle.enqueue_error)

    def test_a_job_of_a_transaction_that_has_failed_already_is_dropped(
        self, maker: Maker, elsewhere: Recording
    ) -> None:
        with maker() as session:
            session.add(Order())
            with pytest.raises(IntegrityError):
                session.flush()
            handle = note.perform_later(1)
            session.rollback()

        assert (elsewhere.sent, handle.enqueued) == ([], False)

    def test_an_error_of_the_queue_reaches_nobody_but_the_handle(
        self, maker: Maker, elsewhere: Recording, caplog: pytest.LogCaptureFixture
    ) -> None:
        elsewhere.error = ConnectionError("queue")
        with maker.begin() as session:
            session.add(Order(name="a"))
            handle = note.perform_later(1)

        assert handle.enqueued is False
        assert handle.enqueue_error is elsewhere.error
        assert handle.job_id in caplog.text

        with maker() as session:
            assert session.scalars(select(Order)).one().name == "a"

    def test_a_job_that_fails_after_the_commit_keeps_no_other_from_its_turn(self, maker: Maker) -> None:
        ran: list[str] = []
        with testing.override(adapter="inline"):
            with maker.begin():
                handles = [end.perform_later(how) for how in ("", "ValueError", "SystemExit", "")]
                on_commit(lambda: ran.append("callback"))

        assert [handle.enqueued for handle in handles] == [True, False, False, True]
        assert isinstance(handles[1].enqueue_error, ValueError)
        assert "SystemExit" in str(handles[2].enqueue_error)
        assert ran == ["callback"]

    def test_a_prepared_transaction_that_is_rolled_back_drops_the_job(self, elsewhere: Recording) -> None:
        class TwoPhase(Session):
            """Says what a database with two-phase commit would make it say."""

        tenantjobs_sqlalchemy.install(TwoPhase)
        try:
            with TwoPhase(twophase=True) as session:
                session.begin()
                handle = note.perform_later(1)
                session.prepare()
                late = note.perform_later(2)
                session.rollback()

                assert (handle.enqueued, late.enqueued) == (False, False)

                session.begin()
                note.perform_later(3)
                session.prepare()
                note.perform_later(4)
                session.commit()
        finally:
            tenantjobs_sqlalchemy.uninstall()

        assert elsewhere.sent == [3, 4]


class TestPendingRecords:
    def test_a_pending_record_travels_by_the_key_that_the_flush_gives_it(
        self, maker: Maker, elsewhere: Recording
    ) -> None:
        with maker.begin() as session:
            order = Order(name="a")
            session.add(order)
            note.perform_later(order)
        [sent] = elsewhere.sent

        assert str(named(Order, str(order_id(maker)))) in str(sent)

    def test_a_record_that_never_gets_a_key_aborts_the_commit(self, maker: Maker, elsewhere: Recording) -> None:
        with maker() as session:
            session.add(Order(name="kept?"))
            order = Order(name="a")
            session.add(order)
            handle = note.perform_later(order)
            session.expunge(order)
            with pytest.raises(SerializationError):
                session.commit()

        assert handle.enqueued is False
        assert elsewhere.sent == []

        with maker() as session:
            assert session.scalars(select(Order)).all() == []

    def test_a_record_of_the_outer_session_may_wait_for_it(self, maker: Maker, elsewhere: Recording) -> None:
        with maker.begin() as outer:
            order = Order(name="a")
            outer.add(order)
            with maker.begin():
                note.perform_later(order)

        assert len(elsewhere.sent) == 1


class TestOnCommit:
    def test_a_callback_runs_after_the_commit(self, maker: Maker) -> None:
        ran: list[int] = []
        with maker.begin():
            on_commit(lambda: ran.append(1))

            assert ran == []

        assert ran == [1]

    def test_without_a_transaction_it_runs_at_once(self, maker: Maker) -> None:
        ran: list[int] = []
        on_commit(lambda: ran.append(1))

        assert ran == [1]

    def test_it_follows_savepoints_and_rollbacks(self, maker: Maker) -> None:
        ran: list[int] = []
        with maker.begin() as session:
            on_commit(lambda: ran.append(1))
            with session.begin_nested():
                on_commit(lambda: ran.append(2))
            with session.begin_nested() as savepoint:
                on_commit(lambda: ran.append(3))
                savepoint.rollback()
        with maker() as session:
            session.begin()
            on_commit(lambda: ran.append(4))
            session.rollback()

        assert ran == [1, 2]

    def test_one_that_raises_is_logged_and_the_others_run(self, maker: Maker, caplog: pytest.LogCaptureFixture) -> None:
        ran: list[int] = []
        with maker.begin():
            on_commit(lambda: 1 / 0)
            on_commit(lambda: ran.append(2))

        assert ran == [2]
        assert "ZeroDivisionError" in caplog.text

    def test_one_that_turns_out_to_be_async_is_logged(self, maker: Maker, caplog: pytest.LogCaptureFixture) -> None:
        async def announce() -> None: ...

        with maker.begin():
            on_commit(lambda: announce())

        assert "made a coroutine" in caplog.text

    def test_one_that_is_lost_at_a_close_is_reported(self, maker: Maker, caplog: pytest.LogCaptureFixture) -> None:
        with maker() as session:
            session.add(Order(name="a"))
            on_commit(lambda: None)

        assert "1 callbacks of on_commit" in caplog.text


@pytest.mark.parametrize("mode", ["create_savepoint", "rollback_only", "conditional_savepoint", "control_fully"])
def test_in_a_test_that_wraps_everything_in_a_transaction_jobs_leave_with_the_commit(
    engine: Engine, maker: Maker, elsewhere: Recording, mode: Any
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with maker(bind=connection, join_transaction_mode=mode) as session:
            session.add(Order(name="a"))
            note.perform_later(1)
            session.commit()

            assert elsewhere.sent == [1]

            session.add(Order(name="b"))
            note.perform_later(2)
            session.rollback()

            assert elsewhere.sent == [1]
        if outer.is_active:
            outer.rollback()


def test_a_class_and_its_subclass_are_heard_once(engine: Engine, maker: Maker, elsewhere: Recording) -> None:
    ran: list[int] = []
    tenantjobs_sqlalchemy.install(Session)
    tenantjobs_sqlalchemy.install(sessionmaker(engine))
    with maker.begin(), Session(engine) as plain:
        plain.begin()
        on_commit(lambda: ran.append(1))
        note.perform_later(1)
        plain.commit()

    assert ran == [1]
    assert elsewhere.batches == [[1]]


def order_id(maker: Maker) -> int:
    with maker() as session:
        return session.scalars(select(Order.id)).one()

"""Core without a session: ``with tenantjobs_sqlalchemy.begin(engine) as connection``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine

import tenantjobs_sqlalchemy
from tenantjobs import job, on_commit
from tenantjobs.errors import ConfigurationError
from tests.tenantjobs_sqlalchemy.conftest import Joining, Order, Recording, Statements

orders = Order.__table__


@job(name="tests.connections.note", tenancy="none")
def note(value: Any) -> None: ...


@pytest.fixture(autouse=True)
def nothing_is_installed() -> Iterator[None]:
    """It needs no install()."""
    tenantjobs_sqlalchemy.uninstall()
    yield
    tenantjobs_sqlalchemy.uninstall()


def names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(orders.c.name).order_by(orders.c.id)))


def test_a_job_leaves_with_the_commit(engine: Engine, elsewhere: Recording) -> None:
    with tenantjobs_sqlalchemy.begin(engine) as connection:
        connection.execute(insert(orders).values(name="a"))
        handle = note.perform_later(1)

        assert (elsewhere.sent, handle.enqueued) == ([], None)

    assert (elsewhere.sent, handle.enqueued) == ([1], True)
    assert names(engine) == ["a"]


def test_an_error_drops_it(engine: Engine, elsewhere: Recording) -> None:
    with pytest.raises(ZeroDivisionError), tenantjobs_sqlalchemy.begin(engine) as connection:
        connection.execute(insert(orders).values(name="a"))
        handle = note.perform_later(1)
        raise ZeroDivisionError

    assert (elsewhere.sent, handle.enqueued, names(engine)) == ([], False, [])


def test_a_statement_that_fails_drops_it(engine: Engine, elsewhere: Recording) -> None:
    with pytest.raises(IntegrityError), tenantjobs_sqlalchemy.begin(engine) as connection:
        handle = note.perform_later(1)
        connection.execute(insert(orders), [{"name": "a"}, {"name": "a"}])

    assert (elsewhere.sent, handle.enqueued) == ([], False)


@pytest.mark.filterwarnings("ignore:nested transaction already deassociated")  # what Core says to it by itself
def test_savepoints_count_three_deep(engine: Engine, elsewhere: Recording) -> None:
    with tenantjobs_sqlalchemy.begin(engine) as connection:
        note.perform_later(1)
        with connection.begin_nested() as first:
            note.perform_later(2)
            with connection.begin_nested():
                note.perform_later(3)
                with connection.begin_nested() as third:
                    note.perform_later(4)
                    third.rollback()
            first.commit()
        with connection.begin_nested() as outer:
            with connection.begin_nested():
                note.perform_later(5)
            connection.begin_nested()
            note.perform_later(6)
            outer.rollback()
        note.perform_later(7)

    assert elsewhere.sent == [1, 2, 3, 7]


def test_a_commit_with_savepoints_open_keeps_their_jobs(engine: Engine, elsewhere: Recording) -> None:
    with tenantjobs_sqlalchemy.begin(engine) as connection:
        connection.begin_nested()
        note.perform_later(1)
        connection.begin_nested()
        connection.execute(insert(orders).values(name="a"))
        note.perform_later(2)

    assert (elsewhere.sent, names(engine)) == ([1, 2], ["a"])


def test_in_the_transaction_all_jobs_are_written_by_one_statement(engine: Engine, within: Joining) -> None:
    statements = Statements(engine)
    with tenantjobs_sqlalchemy.begin(engine) as connection:
        connection.execute(insert(orders).values(name="a"))
        for number in range(20):
            note.perform_later(number)
        with connection.begin_nested():
            note.perform_later(20)

        assert statements.inserts("queue") == []

    assert len(statements.inserts("queue")) == 1
    assert within.stored == [str(number) for number in range(21)]


def test_in_the_transaction_an_error_drops_them(engine: Engine, within: Joining) -> None:
    with pytest.raises(ZeroDivisionError), tenantjobs_sqlalchemy.begin(engine):
        note.perform_later(1)
        raise ZeroDivisionError

    assert within.writes == []


def test_callbacks_wait_for_it(engine: Engine) -> None:
    ran: list[int] = []
    with tenantjobs_sqlalchemy.begin(engine):
        on_commit(lambda: ran.append(1))

        assert ran == []

    assert ran == [1]


@pytest.mark.filterwarnings("ignore:transaction already deassociated")
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_who_ends_the_transaction_by_hand_is_told_and_the_job_does_not_leave(
    engine: Engine, elsewhere: Recording, ending: str
) -> None:
    with (
        pytest.raises(InvalidRequestError, match="jobs of the block are dropped"),
        tenantjobs_sqlalchemy.begin(engine) as connection,
    ):
        handle = note.perform_later(1)
        getattr(connection, ending)()

    assert (elsewhere.sent, handle.enqueued) == ([], False)


def test_a_plain_transaction_of_the_engine_is_not_waited_for(engine: Engine, elsewhere: Recording) -> None:
    with tenantjobs_sqlalchemy.begin(engine):
        pass
    with engine.begin() as connection, connection.begin_nested():
        note.perform_later(1)

        assert elsewhere.sent == [1]


def test_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="an Engine or an AsyncEngine is wanted"):
        tenantjobs_sqlalchemy.begin("sqlite://")  # type: ignore[call-overload]  # the mistake under test


class TestAsyncEngine:
    async def test_a_job_leaves_with_the_commit(
        self, async_engine: AsyncEngine, engine: Engine, elsewhere: Recording
    ) -> None:
        async with tenantjobs_sqlalchemy.begin(async_engine) as connection:
            await connection.execute(insert(orders).values(name="a"))
            handle = note.perform_later(1)

            assert (elsewhere.sent, handle.enqueued) == ([], None)

        assert (elsewhere.sent, handle.enqueued) == ([1], True)
        assert names(engine) == ["a"]

    async def test_an_error_drops_it(self, async_engine: AsyncEngine, engine: Engine, elsewhere: Recording) -> None:
        with pytest.raises(ZeroDivisionError):
            async with tenantjobs_sqlalchemy.begin(async_engine) as connection:
                await connection.execute(insert(orders).values(name="a"))
                note.perform_later(1)
                raise ZeroDivisionError

        assert (elsewhere.sent, names(engine)) == ([], [])

    async def test_savepoints_count(self, async_engine: AsyncEngine, elsewhere: Recording) -> None:
        async with tenantjobs_sqlalchemy.begin(async_engine) as connection:
            async with connection.begin_nested():
                note.perform_later(1)
            savepoint = await connection.begin_nested()
            note.perform_later(2)
            await savepoint.rollback()

        assert elsewhere.sent == [1]

    async def test_in_the_transaction_all_jobs_are_written_by_one_statement(
        self, async_engine: AsyncEngine, within: Joining, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(within, "joins", lambda engine: engine is async_engine.sync_engine)
        statements = Statements(async_engine.sync_engine)
        async with tenantjobs_sqlalchemy.begin(async_engine):
            for number in range(5):
                note.perform_later(number)

        assert len(statements.inserts("queue")) == 1
        assert within.stored == ["0", "1", "2", "3", "4"]

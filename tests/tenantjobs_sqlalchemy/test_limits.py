"""Limited jobs in transactions: a place is reserved with the commit, and the handle says what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import Handle, LimitReached, adapter, job, limits_concurrency, perform_all_later, testing
from tenantjobs_db import schema, tables
from tenantjobs_db.adapter import DatabaseAdapter
from tests.tenantjobs_sqlalchemy.conftest import Order, Recording

Maker = sessionmaker[Session]
AMaker = async_sessionmaker[AsyncSession]


@job(
    name="tests.limits.render",
    tenancy="none",
    policies=[limits_concurrency(to=2, key=lambda account: account, on_conflict="discard")],
)
def render(account: int) -> None: ...


@job(
    name="tests.limits.ship",
    tenancy="none",
    policies=[limits_concurrency(key=lambda order: order, on_conflict="discard")],
)
def ship(order: Order) -> None: ...


@job(name="tests.limits.alone", tenancy="none", session=False, policies=[limits_concurrency()])
def alone() -> str:
    return "done"


@pytest.fixture
def ready(engine: Engine) -> Engine:
    """The schema of the queue, empty."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for table in (tables.jobs, tables.permits, tables.blocked, tables.outbox):
            connection.execute(delete(table))
    return engine


@pytest.fixture
def joined(ready: Engine) -> Iterator[DatabaseAdapter]:
    """The queue and its permits are in the application's database."""
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
            recording.permits = database.permits  # type: ignore[attr-defined]  # as [db] beside another gives them
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(adapter, "configured", lambda: recording)
                yield


def answers(*handles: Handle) -> list[bool | None]:
    return [handle.enqueued for handle in handles]


@pytest.mark.usefixtures("configured")
def test_the_commit_decides_and_the_handle_says_so(maker: Maker) -> None:
    with maker.begin():
        handles = [render.perform_later(1) for _ in range(3)]

        assert answers(*handles) == [None, None, None]

    assert answers(*handles) == [True, True, False]
    assert isinstance(handles[2].enqueue_error, LimitReached)
    assert answers(render.perform_later(1), render.perform_later(2)) == [False, True]


@pytest.mark.usefixtures("configured")
def test_a_rollback_takes_no_place(maker: Maker) -> None:
    with pytest.raises(ZeroDivisionError), maker.begin():
        perform_all_later([render.call(1), render.call(1)])
        raise ZeroDivisionError

    assert answers(render.perform_later(1), render.perform_later(1)) == [True, True]


@pytest.mark.usefixtures("configured")
def test_neither_does_a_commit_that_fails(maker: Maker) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
    with pytest.raises(Exception, match=r"(?i)unique"), maker.begin() as session:
        perform_all_later([render.call(1), render.call(1)])
        session.add(Order(name="a"))

    assert answers(render.perform_later(1), render.perform_later(1)) == [True, True]


@pytest.mark.usefixtures("configured")
def test_one_that_is_cancelled_gives_its_place_to_another(maker: Maker) -> None:
    with maker.begin():
        render.perform_later(1).cancel()
        handles = [render.perform_later(1) for _ in range(2)]

    assert answers(*handles) == [True, True]


@pytest.mark.usefixtures("configured")
def test_a_record_that_gets_its_key_with_the_commit_is_a_key(maker: Maker) -> None:
    with maker.begin() as session:
        orders = [Order(name="a"), Order(name="b")]
        session.add_all(orders)
        handles = [ship.perform_later(order) for order in (*orders, *orders)]

    assert answers(*handles) == [True, True, False, False]


@pytest.mark.usefixtures("configured")
async def test_an_async_session_does_the_same(amaker: AMaker) -> None:
    async with amaker.begin():
        handles = [render.perform_later(1), await render.aperform_later(1), await render.aperform_later(1)]

    assert answers(*handles) == [True, True, False]


def test_the_place_commits_with_the_job(maker: Maker, joined: DatabaseAdapter, ready: Engine) -> None:
    with maker() as session:
        session.connection()
        handle = render.perform_later(1)
        with ready.connect() as other:
            assert other.scalars(select(tables.permits.c.owner)).all() == []
        session.commit()

    with ready.connect() as other:
        assert other.scalars(select(tables.permits.c.owner)).all() == [handle.job_id]


def test_transactions_that_commit_at_once_let_in_as_many_as_may(maker: Maker, joined: DatabaseAdapter) -> None:
    handles: list[Handle] = []
    start = threading.Barrier(4)

    def place(number: int) -> None:
        with maker.begin() as session:
            session.connection()
            start.wait()
            accounts = range(5) if number % 2 else reversed(range(5))
            handles.extend(render.perform_later(account) for account in accounts)

    threads = [threading.Thread(target=place, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers(*handles).count(True) == 10
    assert answers(*handles).count(False) == 10


def test_perform_now_takes_its_permit_in_the_transaction_that_is_open_where_there_is_one_writer(
    maker: Maker, joined: DatabaseAdapter
) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
        session.flush()
        results = [alone.perform_now(), alone.perform_now()]

    assert results == ["done", "done"]

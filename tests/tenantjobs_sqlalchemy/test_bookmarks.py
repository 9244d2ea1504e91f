"""Steps of a job whose queue keeps no bookmarks: what is left of them when its worker crashes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import Current, Job, adapter, definition, execution, job, step, testing
from tenantjobs.bookmark import Bookmark
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, StepError
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.tables import bookmarks
from tenantjobs_sqlalchemy import current_session
from tests.tenantjobs.enqueued import enqueued
from tests.tenantjobs_sqlalchemy.conftest import ENGINES, MARIADB, Order
from tests.tenantjobs_sqlalchemy.conftest import database as databases

Maker = sessionmaker[Session]
url = databases(*ENGINES, MARIADB)

crashes: list[Any] = []
done: list[Any] = []


class Crash(BaseException):
    """The process is gone: what would have followed does not happen."""


@pytest.fixture(autouse=True)
def broker(engine: Engine) -> Iterator[None]:
    """A queue that has the message and nothing else, with the application's database beside it."""
    crashes.clear()
    done.clear()
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(delete(bookmarks))
    before = dict(definition.registry)
    with testing.override(adapter="test", db={"engine": engine, "busy_timeout": 1}), Current.set(tenant_id="acme"):
        yield
    definition.registry.clear()
    definition.registry.update(before)


def crash(place: Any) -> None:
    if place in crashes:
        crashes.remove(place)
        raise Crash


def deliver(data: bytes, *, stopping: bool = False) -> object:
    """As a worker of a broker does, which tells that it stops, and can be killed."""
    return execution.perform(data, stopping=lambda: stopping)


def killed(data: bytes) -> None:
    with pytest.raises(Crash):
        deliver(data)


def placing() -> Any:
    @job(name="bookmarks.place")
    def place() -> None:
        for cursor in step("orders", start=0):
            for number in range(cursor.value, 4):
                done.append(number)
                current_session().add(Order(name=f"order {number}"))
                crash(("before", number))
                cursor.set(number + 1)
                crash(("after", number))
        for _ in step("summary"):
            done.append("summary")
        crash("end")

    return place


def orders(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.name).order_by(Order.name)))


def kept(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(bookmarks)).scalar_one()


@pytest.mark.parity("1a.29", "1a.30")
def test_a_message_that_comes_again_goes_on_from_the_last_checkpoint(maker: Maker, engine: Engine) -> None:
    data = enqueued(placing().perform_later)
    crashes[:] = [("after", 0), ("before", 2), ("after", 2)]
    for _ in range(3):
        killed(data)

    deliver(data)

    assert done == [0, 1, 2, 2, 3, "summary"]
    assert orders(engine) == [f"order {number}" for number in range(4)]


def test_what_is_completed_is_left_out_when_only_the_end_was_lost(maker: Maker, engine: Engine) -> None:
    data = enqueued(placing().perform_later)
    crashes[:] = ["end"]
    killed(data)

    deliver(data)

    assert done == [0, 1, 2, 3, "summary"]


def test_a_checkpoint_and_its_work_are_one_commit(
    maker: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no place")

    data = enqueued(placing().perform_later)
    monkeypatch.setattr("tenantjobs_db.bookmarks.DatabaseBookmarks._kept", refuse)
    with pytest.raises(RuntimeError, match="no place"):
        deliver(data)

    assert orders(engine) == []


def test_without_a_session_of_that_database_the_bookmark_follows_the_step() -> None:
    @job
    def counting() -> None:
        for cursor in step("numbers", start=0):
            for number in range(cursor.value, 3):
                done.append(number)
                cursor.set(number + 1)
                crash(number)

    data = enqueued(counting.perform_later)
    crashes[:] = [0, 1]
    killed(data)
    killed(data)
    deliver(data)

    assert done == [0, 1, 2]


async def test_an_async_job_goes_on_alike() -> None:
    @job
    async def counting() -> None:
        async for cursor in step("numbers", start=0):
            for number in range(cursor.value, 3):
                done.append(number)
                await cursor.set(number + 1)
                crash(number)

    data = enqueued(counting.perform_later)
    crashes[:] = [0]
    with pytest.raises(Crash):
        await execution.aperform(data, stopping=lambda: False)
    await execution.aperform(data, stopping=lambda: False)

    assert done == [0, 1, 2]


@pytest.mark.parity("1a.29")
def test_declared_steps_go_on_alike() -> None:
    class Export(Job):
        def perform(self) -> None:
            self.run_steps()

        @step
        def gather(self) -> None:
            done.append("gather")

        @step
        def send(self) -> None:
            done.append("send")
            crash("send")

    data = enqueued(Export.perform_later)
    crashes[:] = ["send"]
    killed(data)
    deliver(data)

    assert done == ["gather", "send", "send"]


def test_a_job_that_has_ended_leaves_nothing_and_one_that_has_failed_its_bookmark(maker: Maker, engine: Engine) -> None:
    @job
    def failing() -> None:
        for _ in step("first"):
            pass
        raise LookupError

    deliver(enqueued(placing().perform_later))
    assert kept(engine) == 0

    with pytest.raises(LookupError):
        deliver(enqueued(failing.perform_later))
    assert kept(engine) == 1


def test_a_job_that_was_interrupted_goes_on_from_what_its_new_message_says(maker: Maker, engine: Engine) -> None:
    deliver(enqueued(placing().perform_later), stopping=True)
    assert done == [0]

    (again,) = adapter.configured()._waiting  # type: ignore[attr-defined]  # the message that was enqueued again
    with engine.begin() as connection:  # as if the write of it had been lost
        connection.execute(update(bookmarks).values(bookmark='{"step":"orders","cursor":0}'))
    deliver(again)

    assert done == [0, 1, 2, 3, "summary"]


@pytest.mark.parity("1a.33")
def test_a_crash_counts_as_a_resumption(maker: Maker) -> None:
    class Stubborn(Job):
        max_resumptions = 2

        def perform(self) -> None:
            for cursor in step("numbers", start=0):
                cursor.set(cursor.value + 1)
                raise Crash

    data = enqueued(Stubborn.perform_later)
    for _ in range(3):
        killed(data)

    with pytest.raises(StepError, match="was resumed 2 times"):
        deliver(data)


@pytest.mark.parity("1a.31")
def test_a_delivery_that_was_taken_for_dead_ends_at_its_next_checkpoint(maker: Maker, engine: Engine) -> None:
    messages: list[bytes] = []

    @job
    def slow() -> None:
        mine = len(done)
        done.append("begins")
        for cursor in step("orders", start=0):
            current_session().add(Order(name=f"order {cursor.value} of {mine}"))
            cursor.set(cursor.value + 1)
            if messages:
                deliver(messages.pop())  # the queue has given the message to another worker meanwhile
            current_session().add(Order(name=f"order {cursor.value} of {mine}"))
            cursor.set(cursor.value + 1)
            done.append("ends")

    messages.append(enqueued(slow.perform_later))
    assert deliver(messages[0]) is None

    assert done == ["begins", "begins", "ends"]
    assert orders(engine) == ["order 0 of 0", "order 1 of 1", "order 2 of 1"]


def test_a_job_without_steps_asks_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    @job
    def plain() -> None:
        done.append("plain")

    def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("tenantjobs_db.bookmarks.DatabaseBookmarks.find", asked)
    monkeypatch.setattr("tenantjobs_db.bookmarks.DatabaseBookmarks.forget", asked)
    deliver(enqueued(plain.perform_later))

    assert done == ["plain"]


def test_where_there_is_no_database_a_crash_loses_the_steps_of_its_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantjobs.bookmarks.keeper", lambda kind: adapter.configured())
    data = enqueued(placing_without_session().perform_later)
    crashes[:] = [1]
    killed(data)
    deliver(data)

    assert done == [0, 1, 0, 1, 2]


def placing_without_session() -> Any:
    @job(session=False)
    def counting() -> None:
        for cursor in step("numbers", start=0):
            for number in range(cursor.value, 3):
                done.append(number)
                cursor.set(number + 1)
                crash(number)

    return counting


def test_a_database_without_the_table_says_what_to_do(engine: Engine) -> None:
    bookmarks.drop(engine)
    try:
        with pytest.raises(ConfigurationError, match="tenantjobs db upgrade"):
            deliver(enqueued(placing_without_session().perform_later))
    finally:
        bookmarks.create(engine)


def test_what_nobody_has_gone_on_with_for_long_is_forgotten(engine: Engine) -> None:
    deliver(enqueued(placing_without_session().perform_later), stopping=True)
    assert kept(engine) == 1
    database = adapter.built("db")
    assert isinstance(database, DatabaseAdapter)
    assert database.bookmarks.prune() == 0

    with engine.begin() as connection:
        connection.execute(update(bookmarks).values(kept_at=datetime(2020, 1, 1, tzinfo=UTC)))

    assert database.bookmarks.prune() == 1


def test_of_two_that_begin_at_once_one_goes_on(engine: Engine) -> None:
    database = adapter.built("db")
    assert isinstance(database, DatabaseAdapter)
    envelope = Envelope.decode(enqueued(placing_without_session().perform_later))
    at_first = msgspec.structs.replace(envelope, bookmark=Bookmark(("first",)))

    assert [database.bookmarks.keep(at_first, 0) for _ in range(2)] == [True, False]
    assert [database.bookmarks.keep(at_first, 1) for _ in range(2)] == [True, False]

"""A checkpoint commits what the job has done so far, with the bookmark where the queue is in the same database."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import AsyncCursor, Current, Job, current_job, definition, idempotent, job, retry_on, step, testing
from tenantjobs import adapter as adapters
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.tables import failures, jobs, processes
from tenantjobs_sqlalchemy import current_session
from tests.tenantjobs_sqlalchemy.conftest import Order

Maker = sessionmaker[Session]
numbers = itertools.count()


@pytest.fixture(autouse=True)
def queue(engine: Engine) -> Iterator[None]:
    """The real queue, in the application's database, and the scope of a tenant."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for table in (jobs, failures, processes):
            connection.execute(delete(table))
    before = dict(definition.registry)
    with testing.override(adapter="db", db={"engine": engine, "busy_timeout": 1}), Current.set(tenant_id="acme"):
        yield
    definition.registry.clear()
    definition.registry.update(before)


def orders(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.name).order_by(Order.id)))


def bookmark(engine: Engine) -> Any:
    return stored(engine).get("bookmark")


def stored(engine: Engine) -> Any:
    """The envelope as it is in the queue now."""
    with engine.connect() as connection:
        return msgspec.json.decode(connection.scalars(select(jobs.c.data)).one())


def state(engine: Engine) -> Any:
    with engine.connect() as connection:
        return tuple(connection.execute(select(jobs.c.state, jobs.c.attempt)).one())


@pytest.mark.parametrize("committed", [True, False])
def test_a_checkpoint_of_which_only_the_answer_was_lost_is_not_done_again(
    maker: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    breaks: list[bool] = []
    commit = engine.dialect.do_commit

    def lose_the_answer(connection: Any) -> None:
        if not breaks or committed:
            commit(connection)
        if breaks:
            raise engine.dialect.loaded_dbapi.OperationalError("the answer was lost", breaks.pop())

    monkeypatch.setattr(engine.dialect, "do_commit", lose_the_answer)

    @job(policies=[retry_on(OperationalError, wait=0)])
    def place() -> None:
        running = current_job()
        assert running is not None
        for cursor in step("place", start=0):
            for number in range(cursor.value, 3):
                current_session().add(Order(name=str(number)))
                if (number, running.attempt) == (1, 1):
                    breaks.append(True)
                cursor.advance()

    place.perform_later()
    testing.drain()

    assert orders(engine) == ["0", "1", "2"]
    assert state(engine) == ("finished", 2)


def test_the_end_of_a_step_commits_and_an_error_after_it_rolls_back_to_there(maker: Maker, engine: Engine) -> None:
    @job(policies=[retry_on(ConnectionError, wait=3600)])
    def place() -> None:
        for _ in step("first"):
            current_session().add(Order(name="first"))
        for _ in step("second"):
            current_session().add(Order(name="second"))
            current_session().flush()
            raise ConnectionError

    place.perform_later()
    testing.drain()

    assert orders(engine) == ["first"]
    assert bookmark(engine) == {"done": ["first"]}


def test_a_cursor_and_the_work_before_it_are_one_commit(maker: Maker, engine: Engine) -> None:
    seen: list[Any] = []

    @job
    def place() -> None:
        for cursor in step("all", start=0):
            current_session().add(Order(name="a"))
            cursor.set(1)
            seen.append((orders(engine), bookmark(engine)))
            seen.append(stored(engine).get("attempt", 0))  # a crash would not be charged

    place.perform_later()
    testing.drain()

    assert seen == [(["a"], {"step": "all", "cursor": 1}), 0]
    assert state(engine) == ("finished", 1)


def test_a_checkpoint_of_a_job_that_is_another_workers_by_now_commits_nothing(maker: Maker, engine: Engine) -> None:
    @job
    def place() -> None:
        for cursor in step("all", start=0):
            current_session().add(Order(name="a"))
            current_session().execute(update(jobs).values(fence=jobs.c.fence + 1))
            cursor.set(1)

    place.perform_later()
    testing.drain()

    assert orders(engine) == []


def test_jobs_that_a_step_enqueues_leave_with_its_end(maker: Maker, engine: Engine) -> None:
    @job(name=f"tests.checkpoints.{next(numbers)}")
    def child() -> None: ...

    @job
    def place() -> None:
        for _ in step("first"):
            child.perform_later()
        for _ in step("second"):
            child.perform_later()
            raise LookupError

    place.perform_later()
    testing.drain()

    with engine.connect() as connection:
        states = sorted(connection.scalars(select(jobs.c.state)))
    assert states == ["failed", "finished"]


def test_a_failed_job_keeps_its_steps_for_who_releases_it(maker: Maker, engine: Engine) -> None:
    @job
    def place() -> None:
        for _ in step("first"):
            pass
        raise LookupError

    place.perform_later()
    testing.drain()

    assert (state(engine), bookmark(engine)) == (("failed", 1), {"done": ["first"]})


def test_what_a_step_with_a_handler_has_done_is_rolled_back_before_the_handler_runs(
    maker: Maker, engine: Engine
) -> None:
    class Place(Job):
        def perform(self) -> None:
            self.run_steps()

        def flag(self, error: Exception) -> None:
            current_session().add(Order(name="flagged"))

        @step(on_error="flag")
        def place(self) -> None:
            current_session().add(Order(name="half"))
            current_session().flush()
            raise LookupError

        @step
        def more(self) -> None:
            current_session().add(Order(name="more"))

    Place.perform_later()
    testing.drain()

    assert orders(engine) == ["flagged", "more"]


def test_a_checkpoint_in_a_savepoint_is_refused(maker: Maker, engine: Engine) -> None:
    @job
    def place() -> None:
        for cursor in step("all", start=0):
            with current_session().begin_nested():
                cursor.set(1)

    place.perform_later()
    testing.drain()

    with engine.connect() as connection:
        (message,) = connection.scalars(select(failures.c.message))
    assert "there is a savepoint open" in message


def test_steps_of_a_job_whose_key_commits_with_its_work_are_refused(maker: Maker, engine: Engine) -> None:
    @job(policies=[idempotent(key=lambda: "once")])
    def place() -> None:
        for _ in step("all"):
            pass

    place.perform_later()
    testing.drain()

    assert state(engine) == ("failed", 1)


def test_on_another_database_the_bookmark_follows_the_commit(maker: Maker, engine: Engine, tmp_path: Any) -> None:
    seen: list[Any] = []

    @job
    def place() -> None:
        for cursor in step("all", start=0):
            current_session().add(Order(name="a"))
            cursor.set(1)
            row = found().queue.find(handle.job_id)
            assert row is not None
            seen.append((orders(engine), msgspec.json.decode(row.data)["bookmark"]))

    with testing.override(adapter="db", db={"url": f"sqlite:///{tmp_path / 'queue.db'}", "engine": None}):
        schema.upgrade(found().database.engine)
        handle = place.perform_later()
        testing.drain()

    assert seen == [(["a"], {"step": "all", "cursor": 1})]


def found() -> DatabaseAdapter:
    configured = adapters.configured()
    assert isinstance(configured, DatabaseAdapter)
    return configured


def test_an_async_job_commits_at_its_checkpoints_and_its_records_stay_readable(
    amaker: async_sessionmaker[AsyncSession], engine: Engine
) -> None:
    seen: list[Any] = []

    class Place(Job):
        async def perform(self) -> None:
            await self.run_steps()

        @step(start=0)
        async def place(self, *, cursor: AsyncCursor[int]) -> None:
            order = Order(name="a")
            current_session().add(order)
            await cursor.set(1)
            seen.append((order.name, orders(engine), bookmark(engine)))

        @step(on_error=lambda job, error: seen.append("flagged"))
        async def fail(self) -> None:
            current_session().add(Order(name="half"))
            await current_session().flush()
            raise LookupError

    Place.perform_later()
    testing.drain()

    assert seen == [("a", ["a"], {"step": "place", "cursor": 1}), "flagged"]
    assert orders(engine) == ["a"]

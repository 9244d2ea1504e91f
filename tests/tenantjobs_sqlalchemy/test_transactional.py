"""A transactional job: that it is done commits with its own work, in the queue or in the inbox."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, event, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

import tenantjobs_sqlalchemy
from tenantjobs import Current, Job, adapter, definition, guard, idempotent, job, later, retry_on, testing
from tenantjobs.errors import ConfigurationError
from tenantjobs.execution import aexecute, execute
from tenantjobs.outcome import Failed, Finished
from tenantjobs_db import schema
from tenantjobs_db.tables import failures, inbox, jobs, ledger, processes
from tenantjobs_sqlalchemy import current_session
from tests.tenantjobs_sqlalchemy.conftest import Order, Recording, Statements

Maker = sessionmaker[Session]
numbers = itertools.count()


@pytest.fixture(autouse=True)
def queue(engine: Engine) -> Iterator[None]:
    """The real queue, in the application's database, and the scope of a tenant."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for table in (jobs, failures, ledger, inbox, processes):
            connection.execute(delete(table))
    before = dict(definition.registry)
    with testing.override(adapter="db", db={"engine": engine, "busy_timeout": 1}), Current.set(tenant_id="acme"):
        yield
    definition.registry.clear()
    definition.registry.update(before)


def place(work: Callable[[], object] = lambda: None, **options: Any) -> Any:
    """A transactional job that adds an order, and then does ``work``."""

    @job(name=f"tests.transactional.{next(numbers)}", transactional=True, **options)
    def place(name: str) -> None:
        current_session().add(Order(name=name))
        work()

    return place


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def states(engine: Engine) -> list[tuple[str, int, str | None]]:
    with engine.connect() as connection:
        return [(row.state, row.attempt, row.reason) for row in connection.execute(select(jobs))]


def envelope(job: Any, *args: Any) -> bytes:
    """What another queue would deliver."""
    with testing.override(adapter="test"):
        job.perform_later(*args)
        return adapter.configured()._waiting[0]  # type: ignore[attr-defined]


class TestInTheQueueOfTheSession:
    @pytest.mark.parametrize("follow", [0, 1])
    def test_the_completion_is_the_last_statement_before_the_commit(
        self, maker: Maker, engine: Engine, follow: int
    ) -> None:
        @job(name=f"tests.transactional.{next(numbers)}")
        def follows() -> None: ...

        place(lambda: [follows.perform_later() for _ in range(follow)]).perform_later("a")
        statements = Statements(engine)
        committed: list[list[str]] = []
        event.listen(engine, "commit", lambda _: committed.append(statements.seen.copy()))

        assert testing.drain() == 1 + follow

        first = (statement.removeprefix('WITH "new" AS').split()[:3] for statement in committed[0])
        words = [" ".join(words).lstrip("(") for words in first]
        written = ["INSERT INTO orders", *["INSERT INTO tj_jobs"] * follow, "UPDATE tj_jobs SET"]
        assert [word for word in words if word.startswith(("INSERT", "UPDATE"))] == written
        assert words[-1] == written[-1]
        assert states(engine) == [("finished", 1, None)] * (1 + follow)

    def test_a_finished_row_may_be_forgotten_with_the_failures_before_it(self, maker: Maker, engine: Engine) -> None:
        with testing.override(adapter="db", db={"engine": engine, "keep_finished": False}):
            attempts = iter((1, 0))
            place(lambda: 1 / (1 - next(attempts)), policies=[retry_on(ZeroDivisionError, wait=0)]).perform_later("a")

            assert testing.drain() == 2

        assert (count(engine, jobs), count(engine, failures), count(engine, Order)) == (0, 0, 1)

    def test_what_a_failed_commit_leaves_is_an_ordinary_failure(self, maker: Maker, engine: Engine) -> None:
        place(lambda: current_session().add(Order(name="a"))).perform_later("a")  # the name is unique

        assert testing.drain() == 1

        assert [state for state, _, _ in states(engine)] == ["failed"]
        assert (count(engine, Order), count(engine, failures)) == (0, 1)

    def test_a_job_that_was_given_to_another_worker_has_no_effect(
        self, maker: Maker, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        def lose() -> None:
            current_session().execute(update(jobs).values(fence=jobs.c.fence + 1))

        place(lose).perform_later("a")
        testing.drain()

        assert count(engine, Order) == 0
        assert [state for state, _, _ in states(engine)] == ["ready"]

    def test_a_guard_that_says_no_is_kept_as_the_reason(self, maker: Maker, engine: Engine) -> None:
        place(policies=[guard(lambda name: False)]).perform_later("a")
        testing.drain()

        assert states(engine) == [("finished", 1, "its guard said no")]

    def test_nothing_is_reported_as_refused(
        self, maker: Maker, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        place().perform_later("a")
        adapter.configured().work(adapter.WorkOptions(drain=True))  # type: ignore[attr-defined]

        assert states(engine) == [("finished", 1, None)]
        assert "refused" not in caplog.text

    def test_together_with_a_key(self, maker: Maker, engine: Engine) -> None:
        twice = place(policies=[idempotent(key=lambda name: name)])
        twice.perform_later("a")
        twice.perform_later("a")
        testing.drain()

        assert [state for state, _, _ in states(engine)] == ["finished", "finished"]
        assert (count(engine, Order), count(engine, inbox)) == (1, 0)

    def test_of_an_async_job_that_a_worker_has_claimed(self, engine: Engine) -> None:
        url = engine.url.render_as_string(hide_password=False).replace("sqlite:", "sqlite+aiosqlite:")
        async_engine = create_async_engine(url, poolclass=NullPool)  # its connections are those of the worker's loop
        tenantjobs_sqlalchemy.install(async_sessionmaker(async_engine))

        @job(name=f"tests.transactional.{next(numbers)}", transactional=True)
        async def place(name: str) -> None:
            current_session().add(Order(name=name))

        try:
            with testing.override(adapter="db", db={"engine": async_engine}):
                place.perform_later("a")
                adapter.configured().work(adapter.WorkOptions(drain=True))  # type: ignore[attr-defined]
        finally:
            tenantjobs_sqlalchemy.uninstall()

        assert states(engine) == [("finished", 1, None)]
        assert (count(engine, Order), count(engine, inbox)) == (1, 0)


class TestInTheInbox:
    def test_a_message_that_comes_twice_has_one_effect(self, maker: Maker, engine: Engine) -> None:
        data = envelope(place(), "a")

        assert execute(data) == Finished()
        assert execute(data) == Finished(note="it was delivered again, and its effect is there already")
        assert (count(engine, Order), count(engine, inbox)) == (1, 1)

    def test_what_failed_is_not_in_it(self, maker: Maker, engine: Engine) -> None:
        fails = iter((True, False))
        data = envelope(place(lambda: 1 / (1 - next(fails))), "a")

        assert isinstance(execute(data), Failed)
        assert execute(data) == Finished()
        assert (count(engine, Order), count(engine, inbox)) == (1, 1)

    def test_another_delivery_that_was_faster_rolls_this_one_back(
        self, maker: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = envelope(place(), "a")
        execute(data)
        keeper = adapter.configured().inbox  # type: ignore[attr-defined]
        monkeypatch.setattr(keeper, "has", lambda *_: False)
        with engine.begin() as connection:
            connection.execute(delete(Order))

        assert isinstance(outcome := execute(data), Finished)
        assert outcome.note is not None
        assert count(engine, Order) == 0

    def test_a_queue_elsewhere_needs_it(self, maker: Maker, engine: Engine, elsewhere: Recording) -> None:
        first = place()
        first.perform_later("a")
        data = elsewhere.envelopes[0].encode()

        assert execute(data) == Finished()
        assert isinstance(execute(data), Finished)
        assert count(engine, Order) == 1

    def test_a_queue_in_a_database_of_its_own_uses_it(self, maker: Maker, engine: Engine, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/queue.db"
        with testing.override(adapter="db", db={"engine": engine, "url": url}, outbox=True):
            place().perform_later("a")

            assert testing.drain() == 1

        assert (count(engine, Order), count(engine, inbox)) == (1, 1)

    def test_old_rows_are_forgotten(self, maker: Maker, engine: Engine) -> None:
        execute(envelope(place(), "a"))
        keeper = adapter.configured().inbox  # type: ignore[attr-defined]
        assert keeper.prune() == 0

        with testing.override(adapter="db", db={"engine": engine, "keep_inbox": 0.000001}):
            assert adapter.configured().inbox.prune() == 1  # type: ignore[attr-defined]
        assert count(engine, inbox) == 0

    def test_a_database_without_the_table_says_so(self, maker: Maker, engine: Engine) -> None:
        data = envelope(place(), "a")
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE tj_inbox RENAME TO hidden")
        try:
            outcome = execute(data)
        finally:
            with engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE hidden RENAME TO tj_inbox")

        assert isinstance(outcome, Failed)
        assert "tenantjobs db upgrade" in str(outcome.error)

    async def test_of_an_async_job_from_elsewhere(
        self, amaker: async_sessionmaker[AsyncSession], async_engine: AsyncEngine, engine: Engine
    ) -> None:
        @job(name=f"tests.transactional.{next(numbers)}", transactional=True)
        async def place(name: str) -> None:
            current_session().add(Order(name=name))

        data = envelope(place, "a")
        with testing.override(adapter="db", db={"engine": async_engine}):
            assert await aexecute(data) == Finished()
            assert isinstance(again := await aexecute(data), Finished)

        assert again.note is not None
        assert count(engine, Order) == 1


class TestRefused:
    def test_at_the_call_where_the_database_of_the_application_is_not_known(self, maker: Maker, tmp_path: Path) -> None:
        with testing.override(adapter="db", db={"engine": None, "url": f"sqlite:///{tmp_path}/queue.db"}):
            with pytest.raises(ConfigurationError, match="is transactional, and there is no place"):
                place().perform_later("a")

    def test_on_another_queue_too(self, maker: Maker, elsewhere: Recording) -> None:
        with testing.override(adapter="db", db={"engine": None}):
            with pytest.raises(ConfigurationError, match="is transactional, and there is no place"):
                place().perform_later("a")

    def test_without_a_factory_of_its_colour(self, maker: Maker, engine: Engine) -> None:
        @job(name=f"tests.transactional.{next(numbers)}", transactional=True)
        async def wants_an_async_one() -> None: ...

        wants_an_async_one.perform_later()
        testing.drain()

        assert [state for state, _, _ in states(engine)] == ["failed"]
        with engine.connect() as connection:
            assert "an async_sessionmaker" in (connection.scalar(select(failures.c.message)) or "")

    def test_in_a_session_on_another_database(self, engine: Engine, tmp_path: Path) -> None:
        other = create_engine(f"sqlite:///{tmp_path}/other.db")
        tenantjobs_sqlalchemy.install(sessionmaker(other))
        try:
            outcome = execute(envelope(place(), "a"))
        finally:
            tenantjobs_sqlalchemy.uninstall()
            other.dispose()

        assert isinstance(outcome, Failed)
        assert "another database than [db] engine" in str(outcome.error)

    @pytest.mark.parametrize("verb", ["commit", "rollback"])
    def test_to_end_its_own_transaction(self, maker: Maker, engine: Engine, verb: str) -> None:
        place(lambda: getattr(current_session(), verb)()).perform_later("a")
        testing.drain()

        assert [state for state, _, _ in states(engine)] == ["failed"]
        assert count(engine, Order) == 0

    def test_without_a_session(self) -> None:
        with pytest.raises(ConfigurationError, match="keep one of them"):
            place(session=False)
        with pytest.raises(ConfigurationError, match="keep one of them"):
            type("Bare", (Job,), {"transactional": True, "session": False, "perform": lambda self: None})

    def test_no_spelling_of_it(self) -> None:
        assert place().__definition__.transactional
        assert type("Yes", (Job,), {"transactional": True, "perform": lambda self: None}).__definition__.transactional

        class Sender:
            @later(transactional=True)
            def send(self) -> None: ...

        assert Sender.send_later.__definition__.transactional  # type: ignore[attr-defined]


def test_a_queue_in_memory_delivers_nothing_twice(maker: Maker, engine: Engine) -> None:
    for name in ("inline", "test"):
        with testing.override(adapter=name):
            place().perform_later(name)
            testing.drain()

    assert (count(engine, Order), count(engine, inbox)) == (2, 0)

"""Keys commit with the work: in the session of a job, and in whatever transaction is open around other code."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import Current, adapter, definition, idempotent, job, once, testing
from tenantjobs.errors import ConfigurationError, DuplicateJob, SerializationError, TenantMissing
from tenantjobs.execution import aexecute, execute
from tenantjobs.outcome import Failed, Finished, Retried
from tenantjobs_db import schema
from tenantjobs_db.tables import failures, jobs, ledger
from tenantjobs_sqlalchemy import current_session
from tests.tenantjobs_sqlalchemy.conftest import Order

Maker = sessionmaker[Session]
AsyncMaker = async_sessionmaker[AsyncSession]
numbers = itertools.count()


@pytest.fixture(autouse=True)
def queue(engine: Engine) -> Iterator[None]:
    """The real queue, in the application's database, and the scope of a tenant."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for table in (jobs, failures, ledger):
            connection.execute(delete(table))
    before = dict(definition.registry)
    with testing.override(adapter="db", db={"engine": engine, "busy_timeout": 1}), Current.set(tenant_id="acme"):
        yield
    definition.registry.clear()
    definition.registry.update(before)


@pytest.fixture
def charge() -> Any:
    """A job that adds an order, once for each name."""

    @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda name: f"charge:{name}")])
    def charge(name: str) -> str:
        charge.session.add(Order(name=f"{name} {next(numbers)}"))
        return "charged"

    return charge


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Order)) or 0


def keys(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.key, row.state) for row in connection.execute(select(ledger).order_by(ledger.c.key))]


class TestPerformNow:
    def test_the_key_commits_with_the_transaction_of_the_caller(
        self, maker: Maker, engine: Engine, charge: Any
    ) -> None:
        with maker() as session:
            charge.session = session
            session.add(Order(name="the caller has written"))
            session.flush()

            assert charge.perform_now("a") == "charged"
            assert charge.perform_now("b") == "charged"
            session.commit()
            assert charge.perform_now("a") is None

        assert keys(engine) == [("charge:a", "done"), ("charge:b", "done")]
        assert orders(engine) == 3

    def test_a_rollback_of_the_caller_frees_the_key(self, maker: Maker, engine: Engine, charge: Any) -> None:
        with maker() as session:
            charge.session = session
            session.add(Order(name="the caller has written"))
            session.flush()
            charge.perform_now("a")
            session.rollback()
            assert keys(engine) == []
            assert charge.perform_now("a") == "charged"
            session.commit()

        assert orders(engine) == 1

    def test_a_savepoint_that_is_rolled_back_frees_the_key(self, maker: Maker, engine: Engine, charge: Any) -> None:
        with maker() as session:
            charge.session = session
            session.add(Order(name="the caller has written"))
            session.flush()
            savepoint = session.begin_nested()
            charge.perform_now("a")
            savepoint.rollback()
            assert charge.perform_now("a") == "charged"
            session.commit()

        assert (keys(engine), orders(engine)) == ([("charge:a", "done")], 2)

    def test_a_failure_frees_the_key_and_leaves_the_transaction_alone(self, maker: Maker, engine: Engine) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        def fails() -> None:
            raise ZeroDivisionError

        with maker() as session:
            session.add(Order(name="the caller has written"))
            session.flush()
            with pytest.raises(ZeroDivisionError):
                fails.perform_now()
            session.commit()

        assert (keys(engine), orders(engine)) == ([], 1)

    def test_without_a_transaction_the_key_is_done_at_once(self, maker: Maker, engine: Engine) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        def works() -> None: ...

        works.perform_now()

        assert keys(engine) == [("k", "done")]

    async def test_of_an_async_job_in_an_async_session(
        self, amaker: AsyncMaker, async_engine: AsyncEngine, engine: Engine
    ) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda name: name)])
        async def charge(session: Any, name: str) -> str:
            return name

        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        async def works() -> str:
            return "worked"

        with testing.override(db={"engine": async_engine}):
            async with amaker() as session:
                session.add(Order(name="the caller has written"))
                await session.flush()
                assert await works.perform_now() == "worked"
                await session.rollback()
                assert await works.perform_now() == "worked"
                session.add(Order(name="again"))
                await session.commit()
            assert await works.perform_now() is None

        assert (keys(engine), orders(engine)) == ([("k", "done")], 1)


class TestTheJobsOwnTransaction:
    @pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
    def test_is_not_its_to_end(self, maker: Maker, engine: Engine, verb: str) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        def ends() -> None:
            current_session().add(Order(name="a"))
            getattr(current_session(), verb)()

        ends.perform_later()
        testing.drain()

        (message,) = messages(engine)
        assert f"{verb}() was called on its session" in message
        assert (keys(engine), orders(engine)) == ([], 0)

    @pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
    async def test_is_not_its_to_end_in_an_async_job_either(
        self, amaker: AsyncMaker, async_engine: AsyncEngine, engine: Engine, verb: str
    ) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        async def ends() -> None:
            current_session().add(Order(name="a"))
            await getattr(current_session(), verb)()

        with testing.override(db={"engine": async_engine}):
            data = enqueued(ends)
            outcome = await aexecute(data)

        assert isinstance(outcome, Failed)
        assert f"{verb}() was called on its session" in str(outcome.error)
        assert orders(engine) == 0

    def test_that_was_ended_by_another_way_fails_the_job(self, maker: Maker, engine: Engine) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        def ends() -> None:
            current_session().get_transaction().rollback()

        outcome = execute(enqueued(ends))

        assert isinstance(outcome, Failed)
        assert "its transaction was ended" in str(outcome.error)
        assert keys(engine) == []

    def test_may_have_savepoints(self, maker: Maker, engine: Engine) -> None:
        @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda: "k")])
        def tries() -> None:
            session = current_session()
            with session.begin_nested():
                session.add(Order(name="kept"))
            savepoint = session.begin_nested()
            session.add(Order(name="dropped"))
            savepoint.rollback()

        assert isinstance(execute(enqueued(tries)), Finished)
        assert (keys(engine), orders(engine)) == ([("k", "done")], 1)

    def test_is_its_own_without_a_key(self, maker: Maker, engine: Engine) -> None:
        @job(name=f"tests.keys.{next(numbers)}")
        def ends() -> None:
            current_session().add(Order(name="a"))
            current_session().commit()

        assert isinstance(execute(enqueued(ends)), Finished)
        assert orders(engine) == 1


class TestOnce:
    def test_the_first_time_and_not_again(self, engine: Engine) -> None:
        assert [entered("k"), entered("k"), entered("other")] == [True, False, True]
        with Current.switch("test", tenant_id="globex"):
            assert entered("k") is True

    def test_commits_with_the_open_transaction(self, maker: Maker, engine: Engine) -> None:
        for end in ("rollback", "commit"):
            with maker() as session:
                session.add(Order(name="a"))
                session.flush()
                with once("k") as first:
                    assert first
                getattr(session, end)()
        with maker.begin() as session, once("k") as first:
            assert not first

        assert (keys(engine), orders(engine)) == ([("k", "done")], 1)

    def test_an_error_in_the_block_frees_the_key(self, maker: Maker) -> None:
        with pytest.raises(ZeroDivisionError), once("k"):
            raise ZeroDivisionError
        with maker.begin() as session:
            session.add(Order(name="a"))
            session.flush()
            with pytest.raises(ZeroDivisionError), once("k"):
                raise ZeroDivisionError
        assert entered("k") is True

    def test_in_a_job_it_commits_with_the_session_of_the_job(self, maker: Maker, engine: Engine) -> None:
        runs: list[bool] = []

        @job(name=f"tests.keys.{next(numbers)}")
        def work(fail: bool) -> None:
            with once("k") as first:
                runs.append(first)
                if first:
                    current_session().add(Order(name="a"))
            if fail:
                raise ZeroDivisionError

        assert isinstance(execute(enqueued(work, True)), Failed)
        assert isinstance(execute(enqueued(work, False)), Finished)
        assert isinstance(execute(enqueued(work, False)), Finished)

        assert (runs, orders(engine)) == ([True, True, False], 1)

    def test_while_another_is_at_work(self, engine: Engine) -> None:
        with held("k"):
            assert entered("k") is False
            with pytest.raises(DuplicateJob, match="'k'"), once("k", on_running="retry"):
                pass

    def test_a_job_comes_back_uncharged(self, maker: Maker) -> None:
        @job(name=f"tests.keys.{next(numbers)}")
        def work() -> None:
            with once("k", on_running="retry"):
                pass

        data = enqueued(work)
        with held("k"):
            outcome = execute(data)

        assert isinstance(outcome, Retried)
        assert (outcome.envelope.attempt, outcome.error) == (0, None)
        assert isinstance(execute(data), Finished)

    def test_waiting_gives_what_the_other_leaves(self, engine: Engine) -> None:
        for outcome, expected in (("complete", False), ("release", True)):
            configured: Any = adapter.configured()
            claim = configured.ledger.acquire("acme", outcome, "another", 60, None)
            args = [claim, None] if outcome == "complete" else [claim]
            timer = threading.Timer(0.05, getattr(configured.ledger, outcome), args)
            timer.start()
            with once(outcome, on_running="wait") as first:
                assert first is expected
            timer.join()

    def test_is_forgotten_after_its_ttl(self, engine: Engine) -> None:
        with once("k", ttl=0.05) as first:
            assert first
        until = time.monotonic() + 5
        while not entered("k"):
            assert time.monotonic() < until

    def test_of_many_threads_one_is_the_first(self, maker: Maker, engine: Engine) -> None:
        firsts: list[bool] = []

        def work() -> None:
            with Current.set(tenant_id="acme"), maker.begin() as session, once("k", on_running="wait") as first:
                firsts.append(first)
                if first:
                    session.add(Order(name=f"{threading.get_ident()}"))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(firsts), orders(engine)) == (8, 1)

    async def test_without_blocking_the_loop(self, amaker: AsyncMaker, async_engine: AsyncEngine) -> None:
        with testing.override(db={"engine": async_engine}):
            async with once("k") as first:
                assert first
            async with once("k") as first:
                assert not first
            async with amaker() as session:
                session.add(Order(name="a"))
                await session.flush()
                async with once("other") as first:
                    assert first
                await session.rollback()
            async with amaker() as session, once("other") as first:
                assert first
                session.add(Order(name="a"))
                await session.commit()
            assert await asyncio.to_thread(entered, "other") is False

    def test_needs_a_tenant_or_the_systems_scope(self, engine: Engine) -> None:
        def unscoped() -> None:
            with once("k"):
                pass

        with pytest.raises(TenantMissing, match="once\\('k'\\) has no tenant"):
            in_a_new_context(unscoped)
        with Current.system("a report"):
            assert entered("k") is True

    def test_needs_a_name(self, engine: Engine) -> None:
        with pytest.raises(ConfigurationError, match="a text that names the effect"):
            once("")
        with pytest.raises(ConfigurationError, match="'skip', 'wait' or 'retry'"):
            once("k", on_running="explode")  # type: ignore[arg-type]  # the mistake under test


def entered(key: str) -> bool:
    with once(key) as first:
        return first


def held(key: str) -> Any:
    """Somebody else is at work on the key."""
    configured: Any = adapter.configured()
    claim = configured.ledger.acquire("acme", key, "another", 60, None)

    class Held:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            configured.ledger.release(claim)

    return Held()


def in_a_new_context(function: Callable[[], None]) -> None:
    import contextvars

    contextvars.Context().run(function)


def enqueued(target: Any, *args: Any) -> bytes:
    handle = target.perform_later(*args)
    configured: Any = adapter.configured()
    row = configured.queue.find(handle.job_id)
    data: bytes = row.data.encode()
    return data


def messages(engine: Engine) -> list[str]:
    """What failed attempts said."""
    with engine.connect() as connection:
        return list(connection.scalars(select(failures.c.message)))


def test_the_key_of_a_record_that_is_expired_and_in_no_session_is_an_error_that_says_so(maker: Maker) -> None:
    @job(name=f"tests.keys.{next(numbers)}", policies=[idempotent(key=lambda order: order.name)])
    def ship(order: Order) -> None: ...

    with maker() as session:
        order = Order(name="a")
        session.add(order)
        session.commit()  # expires it

    with pytest.raises(SerializationError, match=r"its idempotency key could not be computed .* DetachedInstanceError"):
        ship.perform_later(order)

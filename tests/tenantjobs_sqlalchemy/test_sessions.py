from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import job
from tenantjobs.errors import ConfigurationError, Interruption
from tenantjobs.execution import aexecute, execute
from tenantjobs.outcome import Failed, Finished, Outcome
from tenantjobs_sqlalchemy import current_session
from tenantjobs_sqlalchemy.sessions import SessionWork
from tests.tenantjobs_sqlalchemy.conftest import Joining, Order, Recording

Maker = sessionmaker[Session]

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@job(name="tests.sessions.child", tenancy="none")
def child(value: Any) -> None: ...


@job(name="tests.sessions.order", tenancy="none")
def order(name: str, error: str | None = None) -> None:
    session = current_session()
    seen.append(session)
    session.add(Order(name=name))
    child.perform_later(name)
    if error is not None:
        raise {"Exception": ZeroDivisionError, "Interruption": Interruption}[error]


@job(name="tests.sessions.aorder", tenancy="none")
async def aorder(name: str, error: str | None = None) -> None:
    session = current_session()
    seen.append(session)
    session.add(Order(name=name))
    await session.flush()
    child.perform_later(name)
    if error is not None:
        raise {"Exception": ZeroDivisionError, "Interruption": Interruption}[error]


@job(name="tests.sessions.without", tenancy="none", session=False)
def without() -> None:
    current_session()


@job(name="tests.sessions.calls_without", tenancy="none")
def calls_without(recording: list[bytes]) -> None:
    child.perform_later("outer")
    seen.append(execute(recording[0]))


@job(name="tests.sessions.child_without", tenancy="none", session=False)
def child_without() -> None:
    child.perform_later("inner")
    current_session()


@job(name="tests.sessions.commits", tenancy="none")
def commits() -> None:
    session = current_session()
    session.add(Order(name="kept"))
    session.commit()
    session.add(Order(name="lost"))
    raise ZeroDivisionError


@job(name="tests.sessions.unused", tenancy="none")
def unused() -> str:
    return "done"


def performed(target: Any, recording: Recording, *args: Any) -> Outcome:
    target.perform_later(*args)
    return execute(recording.envelopes.pop().encode())


async def aperformed(target: Any, recording: Recording, *args: Any) -> Outcome:
    target.perform_later(*args)
    return await aexecute(recording.envelopes.pop().encode())


def names(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return list(session.scalars(select(Order.name).order_by(Order.id)))


def sent(recording: Recording) -> list[str]:
    return [envelope.name for envelope in recording.envelopes]


def test_a_job_commits_when_it_returns(maker: Maker, engine: Engine, elsewhere: Recording) -> None:
    outcome = performed(order, elsewhere, "a")

    assert isinstance(outcome, Finished)
    assert names(engine) == ["a"]
    assert sent(elsewhere) == [child.name]


def test_a_job_that_raises_rolls_back(maker: Maker, engine: Engine, elsewhere: Recording) -> None:
    outcome = performed(order, elsewhere, "a", "Exception")

    assert isinstance(outcome, Failed)
    assert names(engine) == []
    assert sent(elsewhere) == []


def test_an_interruption_rolls_back_and_goes_on(maker: Maker, engine: Engine, elsewhere: Recording) -> None:
    with pytest.raises(Interruption):
        performed(order, elsewhere, "a", "Interruption")

    assert names(engine) == []
    assert sent(elsewhere) == []


def test_the_session_is_closed_in_any_case(maker: Maker, elsewhere: Recording) -> None:
    for error in (None, "Exception"):
        performed(order, elsewhere, f"{error}", error)

    assert [session.in_transaction() for session in seen] == [False, False]
    assert seen[0] is not seen[1]


def test_jobs_of_a_job_share_its_fate_before_its_first_statement(maker: Maker, elsewhere: Recording) -> None:
    @job(name="tests.sessions.early", tenancy="none")
    def early() -> None:
        child.perform_later(1)
        raise ZeroDivisionError

    performed(early, elsewhere)

    assert sent(elsewhere) == []


def test_in_the_transaction_they_are_written_with_the_work(maker: Maker, engine: Engine, within: Joining) -> None:
    performed(order, within, "a")
    performed(order, within, "b", "Exception")

    assert names(engine) == ["a"]
    assert within.stored == ["a"]


def test_what_a_job_enqueues_does_not_wait_for_whoever_performs_it(maker: Maker, elsewhere: Recording) -> None:
    order.perform_later("a")
    data = elsewhere.envelopes.pop().encode()
    with maker() as mine:
        mine.begin()
        execute(data)

        assert sent(elsewhere) == [child.name]

        handle = child.perform_later("mine")

        assert handle.enqueued is None


def test_a_job_may_commit_itself(maker: Maker, engine: Engine, elsewhere: Recording) -> None:
    performed(commits, elsewhere)

    assert names(engine) == ["kept"]


def test_a_job_inside_another_has_a_session_of_its_own(maker: Maker, engine: Engine, elsewhere: Recording) -> None:
    @job(name="tests.sessions.outer", tenancy="none")
    def outer() -> None:
        mine = current_session()
        seen.append(mine)
        execute(data)

        assert current_session() is mine

    with maker():
        order.perform_later("inner")
    data = elsewhere.envelopes.pop().encode()
    performed(outer, elsewhere)

    assert len({id(session) for session in seen}) == 2
    assert names(engine) == ["inner"]


def test_outside_of_a_job_there_is_none(maker: Maker) -> None:
    with pytest.raises(ConfigurationError, match="outside of jobs"):
        current_session()


def test_a_job_can_opt_out(maker: Maker, elsewhere: Recording) -> None:
    outcome = performed(without, elsewhere)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ConfigurationError)


@pytest.mark.parametrize("write", ["add", "flush"])
def test_a_job_may_not_close_its_session_over_what_it_wrote(
    maker: Maker, engine: Engine, elsewhere: Recording, write: str
) -> None:
    @job(name=f"tests.sessions.closes_{write}", tenancy="none")
    def closes() -> None:
        with current_session() as session:
            session.add(Order(name="lost?"))
            if write == "flush":
                session.flush()

    outcome = performed(closes, elsewhere)

    assert isinstance(outcome, Failed)
    assert "what it wrote would be lost" in str(outcome.error)
    assert names(engine) == []


def test_a_job_may_close_its_session_over_what_it_read_or_committed(
    maker: Maker, engine: Engine, elsewhere: Recording
) -> None:
    @job(name="tests.sessions.closes_well", tenancy="none")
    def closes() -> None:
        with current_session() as session:
            session.scalars(select(Order)).all()
        with current_session() as session:
            session.add(Order(name="kept"))
            session.commit()
        with current_session() as session:
            session.add(Order(name="dropped"))
            session.rollback()

    assert isinstance(performed(closes, elsewhere), Finished)
    assert names(engine) == ["kept"]


def test_an_error_that_closes_it_stays_what_it_is(maker: Maker, elsewhere: Recording) -> None:
    @job(name="tests.sessions.closes_by_error", tenancy="none")
    def closes() -> None:
        with current_session() as session:
            session.add(Order(name="a"))
            raise ZeroDivisionError

    outcome = performed(closes, elsewhere)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ZeroDivisionError)


async def test_nor_is_that_of_an_async_job_another_one(
    amaker: async_sessionmaker[AsyncSession], elsewhere: Recording
) -> None:
    @job(name="tests.sessions.acloses_by_error", tenancy="none")
    async def closes() -> None:
        async with current_session() as session:
            session.add(Order(name="a"))
            raise ZeroDivisionError

    outcome = await aperformed(closes, elsewhere)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ZeroDivisionError)


async def test_an_async_job_may_not_either(
    amaker: async_sessionmaker[AsyncSession], engine: Engine, elsewhere: Recording
) -> None:
    @job(name="tests.sessions.acloses", tenancy="none")
    async def closes() -> None:
        async with current_session() as session:
            session.add(Order(name="lost?"))

    outcome = await aperformed(closes, elsewhere)

    assert isinstance(outcome, Failed)
    assert "what it wrote would be lost" in str(outcome.error)
    assert names(engine) == []


def test_one_that_opts_out_knows_nothing_of_the_job_that_performs_it(maker: Maker, elsewhere: Recording) -> None:
    child_without.perform_later()
    inner = elsewhere.envelopes.pop().encode()
    performed(calls_without, elsewhere, [inner])
    [outcome] = seen

    assert isinstance(outcome, Failed)
    assert "session=False" in str(outcome.error)
    assert elsewhere.sent[-2:] == ["inner", "outer"]  # it did not wait for the commit of the other


async def test_an_async_one_that_opts_out_does_not_either(
    amaker: async_sessionmaker[AsyncSession], elsewhere: Recording
) -> None:
    @job(name="tests.sessions.awithout", tenancy="none", session=False)
    async def awithout() -> None:
        current_session()

    @job(name="tests.sessions.acalls_without", tenancy="none")
    async def acalls_without(inner: bytes) -> None:
        seen.append(await aexecute(inner))

    awithout.perform_later()
    await aperformed(acalls_without, elsewhere, elsewhere.envelopes.pop().encode())
    [outcome] = seen

    assert isinstance(outcome, Failed)
    assert "session=False" in str(outcome.error)


def test_the_original_error_survives_a_rollback_that_fails(
    maker: Maker, elsewhere: Recording, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(session: Session) -> None:
        raise ConnectionError("lost")

    monkeypatch.setattr(Session, "rollback", fail)
    outcome = performed(order, elsewhere, "a", "Exception")

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ZeroDivisionError)
    assert "could not be rolled back" in caplog.text


def test_the_scope_runs_functions_with_the_connection_of_the_transaction(maker: Maker, engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), SessionWork().session() as scope:
        scope.run(lambda connection: connection.execute(insert(Order).values(name="a")))  # type: ignore[attr-defined]  # it is a Connection
        raise ZeroDivisionError

    assert names(engine) == []

    with SessionWork().session() as scope:
        scope.run(lambda connection: connection.execute(insert(Order).values(name="b")))  # type: ignore[attr-defined]  # as above

    assert names(engine) == ["b"]


class TestScopedSessions:
    def test_the_session_of_the_job_is_the_scoped_one(self, engine: Engine, elsewhere: Recording) -> None:
        registry = scoped_session(sessionmaker(engine))
        tenantjobs_sqlalchemy.install(registry)

        @job(name="tests.sessions.scoped", tenancy="none")
        def scoped() -> None:
            seen.append((registry(), current_session()))

        try:
            mine = registry()
            performed(scoped, elsewhere)
            [(through_registry, of_job)] = seen

            assert through_registry is of_job
            assert of_job is not mine
            assert registry() is mine

            registry.remove()
            performed(scoped, elsewhere)

            assert not registry.registry.has()
        finally:
            tenantjobs_sqlalchemy.uninstall()

    async def test_the_same_of_async_ones(self, async_engine: AsyncEngine, elsewhere: Recording) -> None:
        registry = async_scoped_session(async_sessionmaker(async_engine), scopefunc=lambda: None)
        tenantjobs_sqlalchemy.install(registry)

        @job(name="tests.sessions.ascoped", tenancy="none")
        async def scoped() -> None:
            seen.append((registry(), current_session()))

        try:
            await aperformed(scoped, elsewhere)
        finally:
            tenantjobs_sqlalchemy.uninstall()
        [(through_registry, of_job)] = seen

        assert through_registry is of_job


class TestAsync:
    async def test_a_job_commits_when_it_returns(
        self, amaker: async_sessionmaker[AsyncSession], engine: Engine, elsewhere: Recording
    ) -> None:
        outcome = await aperformed(aorder, elsewhere, "a")

        assert isinstance(outcome, Finished)
        assert isinstance(seen[0], AsyncSession)
        assert names(engine) == ["a"]
        assert sent(elsewhere) == [child.name]

    async def test_a_job_that_raises_rolls_back(
        self, amaker: async_sessionmaker[AsyncSession], engine: Engine, elsewhere: Recording
    ) -> None:
        outcome = await aperformed(aorder, elsewhere, "a", "Exception")
        with pytest.raises(Interruption):
            await aperformed(aorder, elsewhere, "b", "Interruption")

        assert isinstance(outcome, Failed)
        assert [session.in_transaction() for session in seen] == [False, False]
        assert names(engine) == []
        assert sent(elsewhere) == []

    async def test_the_scope_runs_functions_with_the_connection_of_the_transaction(
        self, amaker: async_sessionmaker[AsyncSession], engine: Engine
    ) -> None:
        async with SessionWork().asession() as scope:
            await scope.run(lambda connection: connection.execute(insert(Order).values(name="a")))  # type: ignore[attr-defined]  # it is a Connection

        assert names(engine) == ["a"]


class TestTheOtherColour:
    """A job whose colour was not installed does without a session, until it asks for one."""

    async def test_a_sync_job_among_async_sessions(
        self, amaker: async_sessionmaker[AsyncSession], elsewhere: Recording
    ) -> None:
        outcome = await aperformed(order, elsewhere, "a")

        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, ConfigurationError)
        assert "a sessionmaker too" in str(outcome.error)
        assert await aperformed(unused, elsewhere) == Finished("done")

    async def test_an_async_job_among_sync_sessions(self, maker: Maker, elsewhere: Recording) -> None:
        outcome = await aperformed(aorder, elsewhere, "a")

        assert isinstance(outcome, Failed)
        assert "an async_sessionmaker too" in str(outcome.error)

    async def test_its_scope_has_no_connection(self, amaker: async_sessionmaker[AsyncSession]) -> None:
        with SessionWork().session() as scope:
            assert scope.run(lambda connection: connection) is None

    async def test_nor_has_the_async_one(self, maker: Maker) -> None:
        async with SessionWork().asession() as scope:
            assert await scope.run(lambda connection: connection) is None

    async def test_with_both_installed_each_job_has_its_own(
        self, maker: Maker, amaker: async_sessionmaker[AsyncSession], engine: Engine, elsewhere: Recording
    ) -> None:
        await aperformed(order, elsewhere, "a")
        await aperformed(aorder, elsewhere, "b")

        assert [type(session).__name__ for session in seen] == ["Session", "AsyncSession"]
        assert names(engine) == ["a", "b"]

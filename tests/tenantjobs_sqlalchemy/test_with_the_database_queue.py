"""The whole way with the real queue in the application's database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import job, testing
from tenantjobs.current import Current
from tenantjobs.errors import WrongTenant
from tenantjobs.execution import aexecute
from tenantjobs_db import schema
from tenantjobs_db.tables import jobs
from tenantjobs_sqlalchemy import current_session
from tests.tenantjobs_sqlalchemy.conftest import Account, Card, Statements


@job(name="tests.queue.shout")
def shout(card: Card) -> None:
    card.title = f"{Current.tenant.name}: {card.title.upper()}"
    if card.title.endswith("BOOM"):
        raise ZeroDivisionError
    echo.perform_later(card)


@job(name="tests.queue.echo")
def echo(card: Card) -> None:
    current_session().add(Card(title=f"echo of {card.title}"))


@job(name="tests.queue.ashout")
async def ashout(card: Card) -> None:
    card.title = f"{Current.tenant.name}: {card.title.upper()}"


@pytest.fixture
def prepared(engine: Engine) -> Engine:
    """The schema of the queue, empty, and two tenants."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(delete(jobs))
    with Session(engine) as session:
        session.add_all([Account(id=1, name="acme"), Account(id=2, name="globex")])
        session.commit()
    return engine


def titles(engine: Engine) -> list[str]:
    with Current.system("test"), Session(engine) as session:
        return list(session.scalars(select(Card.title).order_by(Card.id)))


def waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def test_jobs_commit_with_the_application_and_are_performed_in_their_tenant(
    maker: sessionmaker[Session], prepared: Engine
) -> None:
    statements = Statements(prepared)
    with testing.override(adapter="db", db={"engine": prepared, "keep_finished": False}, tenant=Account):
        for tenant_id in (1, 2):
            with Current.set(tenant_id=tenant_id), maker.begin() as session:
                for title in ("a", "b"):
                    card = Card(title=title)
                    session.add(card)
                    handle = shout.perform_later(card)

        assert handle.enqueued is True
        assert len(statements.inserts("tj_jobs")) == 2
        assert waiting(prepared) == 4

        assert testing.drain() == 8
    assert sorted(titles(prepared)) == [
        "acme: A",
        "acme: B",
        "echo of acme: A",
        "echo of acme: B",
        "echo of globex: A",
        "echo of globex: B",
        "globex: A",
        "globex: B",
    ]


def test_nothing_of_a_rollback_is_left(maker: sessionmaker[Session], prepared: Engine) -> None:
    with testing.override(adapter="db", db={"engine": prepared}, tenant=Account):
        with pytest.raises(ZeroDivisionError), Current.set(tenant_id=1), maker.begin() as session:
            card = Card(title="a")
            session.add(card)
            shout.perform_later(card)
            session.flush()
            raise ZeroDivisionError

        assert waiting(prepared) == 0
        assert testing.drain() == 0


def test_a_job_that_fails_leaves_neither_work_nor_jobs(maker: sessionmaker[Session], prepared: Engine) -> None:
    with testing.override(adapter="db", db={"engine": prepared}, tenant=Account):
        with Current.set(tenant_id=1), maker.begin() as session:
            card = Card(title="boom")
            session.add(card)
            shout.perform_later(card)
        assert testing.drain() == 1

    assert titles(prepared) == ["boom"]
    assert waiting(prepared) == 1  # the failed one; its echo is nowhere


def test_a_record_of_another_tenant_is_refused_at_the_call(maker: sessionmaker[Session], prepared: Engine) -> None:
    with testing.override(adapter="db", db={"engine": prepared}, tenant=Account):
        with Current.set(tenant_id=1), maker() as session:
            card = Card(title="a")
            session.add(card)
            session.flush()
            with Current.switch("test", tenant_id=2), pytest.raises(WrongTenant):
                shout.perform_later(card)


async def test_the_same_of_async_sessions_and_jobs(
    amaker: async_sessionmaker[AsyncSession], async_engine: AsyncEngine, prepared: Engine
) -> None:
    with testing.override(adapter="db", db={"engine": async_engine}, tenant=Account):
        with Current.set(tenant_id=1):
            async with amaker.begin() as session:
                card = Card(title="a")
                session.add(card)
                ashout.perform_later(card)

        assert waiting(prepared) == 1

        # Through the door on this loop: connections of an async engine belong to the loop that opened them.
        with prepared.connect() as connection:
            data = connection.scalar(select(jobs.c.data))
        assert data is not None
        await aexecute(data)

    assert titles(prepared) == ["acme: A"]

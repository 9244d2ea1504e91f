"""Jobs of the real queue, in the same database, performed as the plain role."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import Current, current_job, job, retry_on, testing
from tenantjobs_db import schema
from tenantjobs_sqlalchemy import current_session, rls
from tests.tenantjobs_sqlalchemy.rls.conftest import Note, run
from tests.tenantjobs_sqlalchemy.rls.test_following import ALL, IDS, OURS, THEIRS

pytestmark = [pytest.mark.postgres, pytest.mark.tenantjobs_leaks]  # statements without a tenant are what this is about

seen: list[list[int]] = []


@job(name="tests.rls.look")
def look() -> None:
    seen.append(list(current_session().scalars(IDS)))


@job(name="tests.rls.alook")
async def alook() -> None:
    seen.append(list(await current_session().scalars(IDS)))


@job(name="tests.rls.count", policies=[retry_on(ValueError, wait=0, attempts=2)])
def look_twice() -> None:
    seen.append(list(current_session().scalars(IDS)))
    if current_job().attempt == 1:
        raise ValueError


@job(name="tests.rls.all")
def look_at_all() -> None:
    with Current.system("all of them"):
        seen.append(list(current_session().scalars(IDS)))
    seen.append(list(current_session().scalars(IDS)))


@job(name="tests.rls.own", session=False)
def look_by_itself(url: str) -> None:
    with engines[url].connect() as connection:
        seen.append(list(connection.scalars(IDS)))


engines: dict[str, Engine] = {}


@pytest.fixture
def shop(owner: Engine, engine: Engine, role: str) -> Iterator[sessionmaker[Session]]:
    """What makes the application's sessions, with the queue in the same database."""
    seen.clear()
    schema.upgrade(owner)
    run(owner, [f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"])
    maker = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(maker)
    with testing.override(adapter="db", db={"engine": engine}):
        yield maker
    tenantjobs_sqlalchemy.uninstall()


def test_each_job_sees_the_rows_of_the_tenant_that_it_was_enqueued_for(shop: sessionmaker[Session]) -> None:
    for tenant in ("1", "2", "3"):
        with Current.set(tenant_id=tenant), shop.begin():
            look.perform_later()
    testing.drain()

    assert sorted(seen) == [[], THEIRS, OURS]


def test_without_the_policies_jobs_would_see_all_rows(owner: Engine, shop: sessionmaker[Session]) -> None:
    run(owner, rls.disable(Note))
    with Current.set(tenant_id="1"):
        look.perform_later()
    testing.drain()

    assert seen == [ALL]


def test_a_retried_job_sees_them_again(shop: sessionmaker[Session]) -> None:
    with Current.set(tenant_id="1"):
        look_twice.perform_later()
    testing.drain()

    assert seen == [OURS, OURS]


def test_a_job_sees_all_rows_in_the_scope_of_the_system_only(shop: sessionmaker[Session]) -> None:
    with Current.set(tenant_id="1"):
        look_at_all.perform_later()
    with Current.system("nightly"):
        look.perform_later()
    testing.drain()

    assert sorted(seen) == [ALL, ALL, OURS]


def test_a_job_without_a_session_is_held_on_connections_of_its_own(shop: sessionmaker[Session], engine: Engine) -> None:
    engines["own"] = engine
    with Current.set(tenant_id="1"):
        look_by_itself.perform_later("own")
    testing.drain()

    assert seen == [OURS]


def test_an_async_job_sees_the_rows_of_its_tenant(shop: sessionmaker[Session], async_engine: AsyncEngine) -> None:
    async_maker: async_sessionmaker[AsyncSession] = async_sessionmaker(async_engine)
    tenantjobs_sqlalchemy.install(async_maker)
    with Current.set(tenant_id="2"):
        alook.perform_later()
    testing.drain()

    assert seen == [THEIRS]


def test_nothing_of_a_job_is_left_on_the_connection(shop: sessionmaker[Session], engine: Engine) -> None:
    with Current.set(tenant_id="1"):
        look.perform_later()
    testing.drain()
    with engine.connect() as connection:
        left = connection.scalar(text("SELECT concat(current_setting('tenantjobs.tenant_id', true))"))

    assert left == ""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, func, insert, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import ConfigurationError, Current
from tenantjobs_sqlalchemy import rls
from tests.tenantjobs_sqlalchemy.conftest import Statements
from tests.tenantjobs_sqlalchemy.rls.conftest import Note, fresh_role, run

pytestmark = pytest.mark.postgres

OURS, THEIRS, ALL = [2, 4, 6], [1, 3, 5], [1, 2, 3, 4, 5, 6]
IDS = text("SELECT id FROM notes ORDER BY id")


def ids(connection: Any) -> list[int]:
    return list(connection.scalars(IDS))


def tellings(statements: Statements) -> int:
    return sum("set_config" in statement for statement in statements.seen)


# --- without the policies, everything here would fail ---


def test_without_the_policy_every_row_is_seen_and_this_is_what_the_others_would_find(
    owner: Engine, engine: Engine
) -> None:
    run(owner, rls.disable(Note))
    with Current.set(tenant_id="1"), engine.begin() as connection:
        assert ids(connection) == ALL


# --- the tenant ---


def test_textual_sql_sees_the_rows_of_the_tenant(engine: Engine) -> None:
    with Current.set(tenant_id="1"), engine.connect() as connection:
        assert ids(connection) == OURS


def test_core_and_counts_see_the_rows_of_the_tenant(engine: Engine) -> None:
    with Current.set(tenant_id="1"), engine.connect() as connection:
        assert list(connection.scalars(select(Note.__table__.c.id).order_by("id"))) == OURS
        assert connection.scalar(select(func.count()).select_from(Note.__table__)) == 3


def test_a_session_sees_the_rows_of_the_tenant_by_text(engine: Engine) -> None:
    with Current.set(tenant_id="1"), Session(engine) as session:
        assert ids(session) == OURS


def test_a_function_sees_the_rows_of_the_tenant(owner: Engine, engine: Engine) -> None:
    run(owner, ["CREATE OR REPLACE FUNCTION many() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM notes'"])
    with Current.set(tenant_id="1"), engine.connect() as connection:
        assert connection.scalar(text("SELECT many()")) == 3


def test_the_drivers_own_copy_gives_out_the_rows_of_the_tenant(engine: Engine) -> None:
    with Current.set(tenant_id="1"), engine.begin() as connection:
        cursor: Any = connection.connection.cursor()
        with cursor.copy("COPY notes (id) TO STDOUT") as copy:
            copied = sorted(int(row) for row in b"".join(copy).split())

        assert copied == OURS


def test_a_row_of_another_tenant_is_neither_inserted_nor_moved_nor_changed(engine: Engine) -> None:
    with Current.set(tenant_id="1"):
        for statement in (
            insert(Note.__table__).values(id=7, tenant_id="2", body="theirs"),
            update(Note.__table__).values(tenant_id="2"),
        ):
            with pytest.raises(ProgrammingError, match="row-level security"), engine.begin() as connection:
                connection.execute(statement)
        with engine.begin() as connection:
            changed = connection.execute(text("UPDATE notes SET body = 'mine' WHERE id IN (1, 2)")).rowcount
            deleted = connection.execute(text("DELETE FROM notes WHERE id IN (3, 4)")).rowcount

    assert (changed, deleted) == (1, 1)


def test_without_a_tenant_nothing_is_seen_and_nothing_written(engine: Engine) -> None:
    with Current.set(tenant_id="1"), engine.connect() as connection:
        assert ids(connection) == OURS
    with engine.connect() as connection:
        assert ids(connection) == []  # on the connection that has just had one
        with pytest.raises(ProgrammingError, match="row-level security"):
            connection.execute(insert(Note.__table__).values(id=7, tenant_id="", body="nobody's"))


def test_without_a_tenant_nothing_is_said(engine: Engine) -> None:
    statements = Statements(engine)
    with engine.connect() as connection:
        connection.execute(IDS)

    assert tellings(statements) == 0


def test_a_transaction_is_told_once(engine: Engine) -> None:
    statements = Statements(engine)
    with Current.set(tenant_id="1"), engine.begin() as connection:
        for _ in range(3):
            connection.execute(IDS)

    assert tellings(statements) == 1


@pytest.mark.parametrize("tenant", ["' OR true --", "1'; DROP TABLE notes; --", "\\", "%s", ":x"])
def test_a_tenants_id_is_a_value_and_never_sql(engine: Engine, tenant: str) -> None:
    with Current.set(tenant_id=tenant), engine.connect() as connection:
        assert ids(connection) == []
        assert connection.scalar(text("SELECT current_setting('tenantjobs.tenant_id')")) == tenant


def test_on_an_autocommit_connection_nothing_is_seen(engine: Engine) -> None:
    with Current.set(tenant_id="1"), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert ids(connection) == []


# --- the system ---


def test_the_scope_of_the_system_sees_everything_and_says_why(engine: Engine) -> None:
    with Current.system("monthly report"), engine.connect() as connection:
        assert ids(connection) == ALL
        assert connection.scalar(text("SELECT current_setting('tenantjobs.system')")) == "monthly report"


def test_the_role_of_the_system_is_taken_for_its_scope_and_given_back(owner: Engine, role: str, engine: Engine) -> None:
    with fresh_role(owner) as system:
        run(
            owner,
            [*rls.enable(Note, system_role=system), f"GRANT {system} TO {role}", f"GRANT ALL ON notes TO {system}"],
        )
        with Current.system("before it is known"), engine.connect() as connection:
            assert ids(connection) == []
        rls.install(engine, system_role=system)
        with engine.begin() as connection:
            with Current.set(tenant_id="1"):
                assert ids(connection) == OURS
            with Current.system("report"):
                assert ids(connection) == ALL
            with Current.set(tenant_id="2"):
                assert ids(connection) == THEIRS
                assert connection.scalar(text("SELECT current_user")) == role
        with Current.system("again"), engine.begin() as connection:
            assert ids(connection) == ALL
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == role
            assert ids(connection) == []
        run(owner, rls.enable(Note))


# --- in the middle of a transaction ---


def test_a_rolled_back_savepoint_does_not_take_the_tenant_along(engine: Engine) -> None:
    with Session(engine) as session:
        savepoint = session.begin_nested()
        with Current.set(tenant_id="1"):
            assert ids(session) == OURS  # told in the savepoint
            savepoint.rollback()

            assert ids(session) == OURS


def test_a_textual_rollback_to_a_savepoint_does_not_take_the_tenant_along(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SAVEPOINT here"))
        with Current.set(tenant_id="1"):
            assert ids(connection) == OURS
            connection.execute(text("/* back */ rollback to savepoint here"))

            assert ids(connection) == OURS


def test_a_failed_statement_in_a_savepoint_can_be_rolled_back_in_another_scope(engine: Engine) -> None:
    with Current.set(tenant_id="1"), Session(engine) as session:
        savepoint = session.begin_nested()
        with pytest.raises(ProgrammingError):
            session.execute(text("SELECT nothing"))
        with Current.system("clean up"):
            savepoint.rollback()

        assert ids(session) == OURS


def test_a_released_savepoint_keeps_the_tenant_without_another_word(engine: Engine) -> None:
    statements = Statements(engine)
    with Current.set(tenant_id="1"), Session(engine) as session:
        with session.begin_nested():
            assert ids(session) == OURS

        assert ids(session) == OURS
    assert tellings(statements) == 1


def test_the_scope_of_each_statement_counts_within_one_transaction(engine: Engine) -> None:
    with engine.begin() as connection:
        assert ids(connection) == []
        with Current.set(tenant_id="1"):
            assert ids(connection) == OURS
            with Current.switch("support", tenant_id="2"):
                assert ids(connection) == THEIRS
            assert ids(connection) == OURS
            with Current.system("count"):
                assert ids(connection) == ALL
            assert ids(connection) == OURS
        assert ids(connection) == []


# --- colours, pools and installing ---


async def test_async_sessions_and_connections_see_the_rows_of_the_tenant(async_engine: AsyncEngine) -> None:
    with Current.set(tenant_id="1"):
        async with AsyncSession(async_engine) as session:
            assert list(await session.scalars(IDS)) == OURS
        async with async_engine.connect() as connection:
            assert list(await connection.scalars(IDS)) == OURS
    async with async_engine.connect() as connection:
        assert list(await connection.scalars(IDS)) == []


async def test_tasks_that_share_a_connection_in_turn_see_their_own_rows(async_engine: AsyncEngine) -> None:
    async def look(tenant: str) -> list[int]:
        with Current.set(tenant_id=tenant):
            async with AsyncSession(async_engine) as session:
                await session.execute(text("SELECT pg_sleep(0.001)"))
                return list(await session.scalars(IDS))

    found = await asyncio.gather(*(look(str(1 + number % 2)) for number in range(40)))

    assert found == [OURS, THEIRS] * 20


def test_an_engine_can_be_named_by_what_makes_sessions_of_it(plain: Engine) -> None:
    rls.install(sessionmaker(plain))
    with Current.set(tenant_id="1"), Session(plain) as session:
        assert ids(session) == OURS
    rls.uninstall()
    with Current.set(tenant_id="1"), Session(plain) as session:
        assert ids(session) == []


def test_installing_twice_tells_once(engine: Engine) -> None:
    rls.install(engine)
    statements = Statements(engine)
    with Current.set(tenant_id="1"), engine.connect() as connection:
        connection.execute(IDS)

    assert tellings(statements) == 1


@pytest.mark.parametrize("target", [create_engine("sqlite://"), sessionmaker(), Session, "postgresql://"])
def test_what_has_no_row_level_security_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"rls\.install"):
        rls.install(target)

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, Numeric, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tenantjobs import ConfigurationError, Current, checks
from tenantjobs_sqlalchemy import TenantScoped, rls
from tests.tenantjobs_sqlalchemy.rls.conftest import Base, Note, fresh_role, run

pytestmark = pytest.mark.postgres


def found(engine: Engine) -> list[str]:
    """What ``verify`` has to say, line by line."""
    try:
        rls.verify(engine, Base)
    except ConfigurationError as error:
        return str(error).splitlines()[1:]
    return []


@contextmanager
def changed(owner: Engine, to: str, back: str) -> Iterator[None]:
    run(owner, [to])
    try:
        yield
    finally:
        run(owner, [back])


def test_a_plain_role_on_tables_under_policies_is_well(engine: Engine) -> None:
    rls.verify(engine, Base)
    with Current.set(tenant_id="1"):  # no scope around it is taken for a leftover
        rls.verify(engine, Base)


async def test_an_async_engine_is_verified_with_await(owner: Engine, async_engine: AsyncEngine) -> None:
    await rls.averify(async_engine, Base)
    run(owner, rls.disable(Note))
    with pytest.raises(ConfigurationError, match="table notes is not under row level security"):
        await rls.averify(async_engine, Base)


def test_a_superuser_is_refused(owner: Engine) -> None:
    [finding] = found(owner)

    assert "role postgres is a superuser" in finding


@pytest.mark.parametrize(
    ("power", "said"),
    [("SUPERUSER", "is a superuser"), ("BYPASSRLS", "has BYPASSRLS"), ("CREATEROLE", "has CREATEROLE")],
)
def test_a_role_with_a_way_around_is_refused(owner: Engine, role: str, engine: Engine, power: str, said: str) -> None:
    with changed(owner, f"ALTER ROLE {role} {power}", f"ALTER ROLE {role} NO{power}"):
        findings = found(engine)

    assert [f"role {role} {said}" in finding for finding in findings] == [True]


def test_a_member_of_a_role_with_a_way_around_is_refused(owner: Engine, role: str, engine: Engine) -> None:
    with fresh_role(owner, "BYPASSRLS") as powerful:
        run(owner, [f"GRANT {powerful} TO {role}"])
        [finding] = found(engine)

    assert f"role {powerful} has BYPASSRLS, and the role of this engine is a member of it" in finding


def test_a_role_that_was_set_is_not_taken_for_the_one_that_the_session_began_as(owner: Engine, role: str) -> None:
    disguised = create_engine(owner.url.update_query_dict({"options": f"-crole={role}"}))
    [finding] = found(disguised)
    disguised.dispose()

    assert "role postgres is a superuser" in finding


@pytest.mark.parametrize(
    ("to", "back", "said"),
    [
        (
            "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
            "table notes is not under row level security",
        ),
        (
            "ALTER TABLE notes NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE notes FORCE ROW LEVEL SECURITY",
            "table notes is not under FORCE: its owner, postgres, sees every row",
        ),
        ("DROP POLICY tenantjobs_tenant ON notes", "SELECT 1", "table notes has no policy tenantjobs_tenant"),
        (
            "CREATE POLICY readers ON notes FOR SELECT USING (true)",
            "DROP POLICY readers ON notes",
            "policy readers on notes is permissive",
        ),
        (
            "ALTER POLICY tenantjobs_tenant ON notes USING (true)",
            "SELECT 1",
            "policy tenantjobs_tenant on notes is not as rls.enable makes it",
        ),
        (
            "ALTER POLICY tenantjobs_tenant ON notes WITH CHECK (true)",
            "SELECT 1",
            "policy tenantjobs_tenant on notes is not as rls.enable makes it",
        ),
        (
            "ALTER POLICY tenantjobs_system ON notes USING (true OR current_setting('tenantjobs.system') = '')",
            "SELECT 1",
            "policy tenantjobs_system on notes is not as rls.enable makes it",
        ),
        ("GRANT TRUNCATE ON notes TO PUBLIC", "REVOKE TRUNCATE ON notes FROM PUBLIC", "may TRUNCATE notes"),
    ],
)
def test_a_table_with_a_hole_is_named(owner: Engine, engine: Engine, to: str, back: str, said: str) -> None:
    with changed(owner, to, back):
        [finding] = found(engine)

    assert said in finding


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_that_shows_more_than_its_reader_may_see_is_named(
    owner: Engine, role: str, engine: Engine, kind: str
) -> None:
    create = [f"CREATE {kind} shelf AS SELECT * FROM notes", f"GRANT SELECT ON shelf TO {role}"]
    with changed(owner, "; ".join(create), f"DROP {kind} shelf"):
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM shelf")) == 6
        [finding] = found(engine)

    assert "view shelf of notes" in finding


def test_a_view_that_reads_as_its_reader_or_as_a_plain_owner_is_no_hole(
    owner: Engine, role: str, engine: Engine
) -> None:
    create = [
        "CREATE VIEW shelf WITH (security_invoker = on) AS SELECT * FROM notes",
        "CREATE VIEW desk AS SELECT * FROM notes",
        f"ALTER VIEW desk OWNER TO {role}",
        f"GRANT SELECT ON shelf TO {role}",
    ]
    with changed(owner, "; ".join(create), "DROP VIEW shelf, desk"):
        assert found(engine) == []


def test_a_policy_that_only_narrows_or_is_for_others_is_no_hole(owner: Engine, engine: Engine) -> None:
    with fresh_role(owner) as other:
        run(
            owner,
            [
                "CREATE POLICY narrow ON notes AS RESTRICTIVE USING (id > 0)",
                f"CREATE POLICY auditor ON notes TO {other} USING (true)",
            ],
        )

        assert found(engine) == []


def test_a_member_that_inherits_from_the_role_of_the_system_is_refused(
    owner: Engine, role: str, engine: Engine
) -> None:
    with fresh_role(owner) as system:
        run(owner, [*rls.enable(Base, system_role=system), f"GRANT {system} TO {role}"])
        assert found(engine) == []
        with changed(owner, f"ALTER ROLE {role} INHERIT", f"ALTER ROLE {role} NOINHERIT"):
            findings = found(engine)

        assert len(findings) == 3
        assert "make that one NOINHERIT" in findings[0]


def test_a_partition_that_can_be_read_past_its_table_is_named(owner: Engine, role: str, engine: Engine) -> None:
    run(
        owner,
        [
            "CREATE TABLE events (tenant_id text NOT NULL, id int) PARTITION BY RANGE (id)",
            "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10)",
            *rls.enable(rls.TenantTable("events")),
            f"GRANT SELECT ON events TO {role}",
        ],
    )
    try:
        rls.verify(engine, rls.TenantTable("events"))
        run(owner, [f"GRANT SELECT ON events_1 TO {role}"])
        with pytest.raises(ConfigurationError, match="table events_1 is not under row level security"):
            rls.verify(engine, rls.TenantTable("events"))
    finally:
        run(owner, ["DROP TABLE events"])


def test_a_tenant_that_is_there_before_anybody_said_so_is_named(owner: Engine, role: str, engine: Engine) -> None:
    run(owner, [f"ALTER ROLE {role} SET tenantjobs.tenant_id = '1'"])
    [finding] = found(engine)

    assert "tenantjobs.tenant_id is '1' on a new connection" in finding


def test_a_database_without_the_tables_is_named(engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="none of the tenants' tables is there"):
        rls.verify(engine, rls.TenantTable("nowhere"))


def test_a_model_that_no_policy_can_be_made_for_is_named_beside_the_others(owner: Engine, engine: Engine) -> None:
    class Other(DeclarativeBase):
        pass

    class Amount(TenantScoped, Other):
        __tablename__ = "amounts"
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant_id: Mapped[int] = mapped_column(Numeric(10))

    run(owner, rls.disable(Note))
    with pytest.raises(ConfigurationError, match=r"Amount\.tenant_id is of type(?s:.)*table notes is not under"):
        rls.verify(engine, Other, Note)


def test_every_finding_is_in_one_message(owner: Engine, engine: Engine) -> None:
    run(owner, rls.disable(Base))

    assert [finding.split()[2] for finding in found(engine)[::2]] == ["badges", "invoices", "notes"]


def test_what_is_installed_is_among_what_tenantjobs_check_finds(owner: Engine, engine: Engine) -> None:
    def of_ours() -> list[str]:
        return [problem for problem in checks.problems() if "notes" in problem]

    assert of_ours() == []
    run(owner, rls.disable(Note))

    assert "table notes is not under row level security" in of_ours()[0]


def test_an_async_engine_is_among_what_tenantjobs_check_finds(owner: Engine, url: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url)
    rls.install(engine)
    run(owner, rls.disable(Note))
    try:
        assert any("table notes is not under row level security" in problem for problem in checks.problems())
    finally:
        rls.uninstall()
        engine.sync_engine.dispose(close=False)


def test_the_rows_are_still_held_when_the_role_resets_itself(engine: Engine) -> None:
    with Current.set(tenant_id="1"), engine.begin() as connection:
        connection.execute(text("RESET ROLE"))

        assert connection.scalar(text("SELECT count(*) FROM notes")) == 3

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, ForeignKey, MetaData, Numeric, Uuid, create_engine, insert, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tenantjobs import ConfigurationError, Current
from tenantjobs_sqlalchemy import TenantScoped, rls
from tenantjobs_sqlalchemy.rls import TenantTable
from tests.tenantjobs_sqlalchemy.rls.conftest import Badge, Base, Invoice, Note, fresh_role, run

BADGE = uuid.UUID("0b9b5a62-6a5e-4f63-9f4d-5b2f6a7b8c9d")


def test_every_table_of_tenants_is_found_with_the_type_that_its_ids_are_compared_as() -> None:
    found = rls.tables(Base)

    assert found == [
        TenantTable("badges", type="uuid"),
        TenantTable("invoices", type="bigint"),
        TenantTable("notes", type="text"),
    ]
    assert rls.tables(Base.metadata) == found
    assert rls.tables(Invoice, TenantTable("notes")) == found[1:]


def test_a_source_without_tables_of_tenants_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no tables of tenants"):
        rls.enable(MetaData())


def test_a_column_that_no_policy_can_compare_is_refused() -> None:
    class Other(DeclarativeBase):
        pass

    class Amount(TenantScoped, Other):
        __tablename__ = "amounts"
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant_id: Mapped[int] = mapped_column(Numeric(10))

    class Hex(TenantScoped, Other):
        __tablename__ = "hexes"
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant_id: Mapped[uuid.UUID] = mapped_column(Uuid(native_uuid=False))

    for model, kept in ((Amount, "NUMERIC"), (Hex, "CHAR")):
        with pytest.raises(ConfigurationError, match=f"keeps as {kept}"):
            rls.enable(model)


def test_a_table_that_leaves_its_tenant_to_the_table_of_its_base_is_refused() -> None:
    class Other(DeclarativeBase):
        pass

    class Animal(TenantScoped, Other):
        __tablename__ = "animals"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Dog(Animal):
        __tablename__ = "dogs"
        id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)

    with pytest.raises(ConfigurationError, match="Dog has a table of its own, dogs, without the column tenant_id"):
        rls.enable(Other)


def test_names_are_quoted_where_they_have_to_be() -> None:
    statements = rls.enable(TenantTable("Order", column="user", schema="My Shop"), system_role="all-seeing")

    assert 'ALTER TABLE "My Shop"."Order" FORCE ROW LEVEL SECURITY' in statements
    assert 'TO PUBLIC USING ("user" = (SELECT' in statements[-2]
    assert 'TO "all-seeing" USING' in statements[-1]


@pytest.mark.postgres
def test_ids_of_every_type_are_held(engine: Engine) -> None:
    for model, ours, theirs in ((Note, "7", "8"), (Invoice, 7, 8), (Badge, BADGE, uuid.uuid4())):
        with Current.set(tenant_id=ours), engine.begin() as connection:
            row = {"body": "new"} if model is Note else {}
            connection.execute(insert(model.__table__).values(id=100, tenant_id=ours, **row))
            with pytest.raises(ProgrammingError, match="row-level security"), connection.begin_nested():
                connection.execute(insert(model.__table__).values(id=101, tenant_id=theirs, **row))
            assert connection.scalar(text(f"SELECT count(*) FROM {model.__tablename__}")) == 1
        with Current.set(tenant_id=theirs), Session(engine) as session:
            assert session.scalar(text(f"SELECT count(*) FROM {model.__tablename__}")) == 0


@pytest.mark.postgres
def test_the_owner_is_held_too(server: str, owner: Engine) -> None:
    with fresh_role(owner) as name:
        run(owner, [f"ALTER TABLE notes OWNER TO {name}"])
        engine = create_engine(owner.url.set(username=name))
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM notes")) == 0
        engine.dispose()
        run(owner, ["ALTER TABLE notes OWNER TO CURRENT_USER"])


@pytest.mark.postgres
def test_enabling_again_changes_nothing_and_disabling_leaves_nothing(owner: Engine) -> None:
    policies = text("SELECT tablename, policyname, qual, with_check, roles FROM pg_policies ORDER BY 1, 2")
    secured = text("SELECT count(*) FROM pg_class WHERE relrowsecurity OR relforcerowsecurity")
    with owner.connect() as connection:
        before = connection.execute(policies).all()
    run(owner, rls.enable(Base))
    with owner.connect() as connection:
        assert connection.execute(policies).all() == before
        assert len(before) == 6
    run(owner, rls.disable(Base))
    with owner.connect() as connection:
        assert connection.execute(policies).all() == []
        assert connection.scalar(secured) == 0


@pytest.mark.postgres
def test_the_statements_can_be_executed_as_text_as_a_migration_does(owner: Engine) -> None:
    with owner.begin() as connection:
        for statement in [*rls.disable(Base), *rls.enable(Base)]:
            connection.execute(text(statement))


@pytest.mark.postgres
def test_with_a_role_for_the_system_a_bare_select_goes_by_the_index_of_the_tenant(
    owner: Engine, role: str, engine: Engine
) -> None:
    with fresh_role(owner) as system:
        run(owner, rls.enable(Base, system_role=system))
        run(
            owner,
            [
                "INSERT INTO invoices (id, tenant_id) SELECT n, n / 20 FROM generate_series(1, 20000) AS n",
                "ANALYZE invoices",
            ],
        )
        with Current.set(tenant_id=7), engine.connect() as connection:
            plan = "\n".join(connection.scalars(text("EXPLAIN SELECT * FROM invoices")))

        assert "Index Cond: (tenant_id = $0)" in plan or "Index Cond: (tenant_id = (InitPlan 1).col1)" in plan

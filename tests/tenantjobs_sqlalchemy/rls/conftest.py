"""A shop under row level security: its owner makes the tables, and a plain role works with them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import BigInteger, Engine, MetaData, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tenantjobs_sqlalchemy import TenantScoped, rls
from tests.services import fresh_postgres


class Base(DeclarativeBase):
    metadata = MetaData()


class Note(TenantScoped, Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]


class Invoice(TenantScoped, Base):
    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(BigInteger, index=True)


class Badge(TenantScoped, Base):
    __tablename__ = "badges"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(index=True)


ROWS = """
    INSERT INTO notes (id, tenant_id, body)
    SELECT n, CAST((n & 1) + 1 AS text), 'note ' || n FROM generate_series(1, 6) AS n
"""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a database of our own, as its owner."""
    with fresh_postgres() as url:
        yield url


@contextmanager
def fresh_role(owner: Engine, options: str = "NOINHERIT") -> Iterator[str]:
    """A role that may log in and do nothing else yet."""
    name = f"tj_test_{uuid.uuid4().hex[:12]}"
    with owner.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN {options}")
    try:
        yield name
    finally:
        with owner.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")


def run(engine: Engine, statements: list[str]) -> None:
    """As a migration does."""
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def owner(server: str) -> Iterator[Engine]:
    """The owner's way to the tables, which are there under row level security: notes 2, 4, 6 are tenant 1's."""
    engine = create_engine(server)
    Base.metadata.create_all(engine)
    run(engine, [*rls.enable(Base), "TRUNCATE notes, invoices, badges", ROWS])
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def role(owner: Engine) -> Iterator[str]:
    """A role that is neither owner nor superuser, with the rights that an application has."""
    with fresh_role(owner) as name:
        run(owner, [f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"])
        run(owner, [f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"])
        yield name


@pytest.fixture
def url(server: str, role: str) -> str:
    """The database, as that role."""
    return make_url(server).set(username=role).render_as_string(hide_password=False)


@pytest.fixture
def plain(url: str) -> Iterator[Engine]:
    """What connects as that role, and tells nothing."""
    engine = create_engine(url, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(plain: Engine) -> Iterator[Engine]:
    """The application's engine: it tells its transactions whom they are for."""
    rls.install(plain)
    yield plain
    rls.uninstall()


@pytest.fixture
async def async_engine(url: str, owner: Engine) -> AsyncIterator[AsyncEngine]:
    """The same for asyncio."""
    engine = create_async_engine(url, pool_size=1, max_overflow=0)
    rls.install(engine)
    yield engine
    await engine.dispose()
    rls.uninstall()

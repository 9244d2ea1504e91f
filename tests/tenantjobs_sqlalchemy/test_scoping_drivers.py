"""Rows by key, by the drivers of asyncio: some of them do not count what they have written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, make_url, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.session import make_transient_to_detached

from tenantjobs.current import Current
from tenantjobs.errors import WrongTenant
from tenantjobs_sqlalchemy import TenantScoped
from tests.tenantjobs_sqlalchemy.conftest import MARIADB, POSTGRES

DRIVERS = [
    pytest.param(("sqlite", "sqlite+aiosqlite"), id="aiosqlite"),
    pytest.param(("postgres", "postgresql+psycopg"), id="psycopg", marks=POSTGRES.marks),
    pytest.param(("postgres", "postgresql+asyncpg"), id="asyncpg", marks=POSTGRES.marks),
    pytest.param(("mariadb", "mysql+aiomysql"), id="aiomysql", marks=MARIADB.marks),
]


class Base(DeclarativeBase):
    pass


class Leaf(TenantScoped, Base):
    __tablename__ = "leaves"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[int]
    number: Mapped[int] = mapped_column(unique=True)


leaves: Any = Leaf.__table__


@pytest.fixture(params=DRIVERS)
async def session(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncSession]:
    """Acme has leaf 1 and 3, globex 2 and 4."""
    kind, driver = request.param
    place = f"{driver}:///{tmp_path}/leaves.db" if kind == "sqlite" else request.getfixturevalue(kind)
    engine = create_async_engine(make_url(place).set(drivername=driver))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        rows = [{"id": n, "tenant_id": 2 - n % 2, "number": n} for n in range(1, 5)]
        await connection.execute(insert(leaves), rows)
    async with AsyncSession(engine) as session:
        yield session
    async with AsyncSession(engine) as session:
        with Current.system("test"):
            rows_of_globex = await session.execute(
                select(leaves.c.id, leaves.c.number).where(leaves.c.tenant_id == 2).order_by(leaves.c.id)
            )
            found = [tuple(row) for row in rows_of_globex]
    await engine.dispose()
    assert found == [(2, 2), (4, 4)]


def dialect(session: AsyncSession) -> Any:
    return postgresql if session.get_bind().dialect.name == "postgresql" else sqlite


def upsert(session: AsyncSession, **target: Any) -> Any:
    statement = dialect(session).insert(Leaf)
    return statement.on_conflict_do_update(**target or {"index_elements": ["id"]}, set_={"number": Leaf.number + 10})


async def by_key(session: AsyncSession, *ids: int) -> None:
    await session.execute(update(Leaf), [{"id": each, "number": each + 10} for each in ids])


async def by_core(session: AsyncSession, *ids: int) -> None:
    statement = update(leaves).where(leaves.c.id == bindparam("which")).values(number=leaves.c.number + 10)
    await session.execute(statement, [{"which": each} for each in ids])


async def by_another_condition(session: AsyncSession, *ids: int) -> None:
    statement = update(leaves).where(leaves.c.id < bindparam("which") + 1, leaves.c.id > bindparam("which") - 1)
    await session.execute(statement.values(number=leaves.c.number + 10), [{"which": each} for each in ids])


async def by_deletion(session: AsyncSession, *ids: int) -> None:
    await session.execute(delete(leaves).where(leaves.c.id == bindparam("which")), [{"which": each} for each in ids])


async def by_flush(session: AsyncSession, *ids: int) -> None:
    """Of records that say that they are acme's."""
    for each in ids:
        leaf = Leaf(id=each, tenant_id=1, number=each)
        make_transient_to_detached(leaf)
        session.add(leaf)
        leaf.number += 10
    await session.flush()


async def by_upsert(session: AsyncSession, *ids: int) -> None:
    if session.get_bind().dialect.name == "mysql":
        pytest.skip("it has ON DUPLICATE KEY UPDATE, which is refused")
    await session.execute(upsert(session), [{"id": each, "number": each + 100} for each in ids])


async def by_upsert_of_many(session: AsyncSession, *ids: int) -> None:
    if session.get_bind().dialect.name == "mysql":
        pytest.skip("it has ON DUPLICATE KEY UPDATE, which is refused")
    await session.execute(upsert(session).values([{"id": each, "number": each + 100} for each in ids]))


async def by_upsert_that_returns(session: AsyncSession, *ids: int) -> None:
    if session.get_bind().dialect.name == "mysql":
        pytest.skip("it has ON DUPLICATE KEY UPDATE, which is refused")
    rows = [{"id": each, "number": each + 100} for each in ids]
    (await session.scalars(upsert(session).values(rows).returning(leaves.c.id))).all()


WAYS = [
    by_key,
    by_core,
    by_another_condition,
    by_deletion,
    by_flush,
    by_upsert,
    by_upsert_of_many,
    by_upsert_that_returns,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ids", [(2,), (2, 4), (1, 2)], ids=str)
async def test_a_row_of_another_tenant_is_refused_aloud(session: AsyncSession, way: Any, ids: tuple[int, ...]) -> None:
    with Current.set(tenant_id=1), pytest.raises(WrongTenant):
        await way(session, *ids)


@pytest.mark.parametrize("way", WAYS)
async def test_rows_of_the_tenant_are_written(session: AsyncSession, way: Any) -> None:
    with Current.set(tenant_id=1):
        await way(session, 1, 3)
        await session.commit()

        left = (await session.scalars(select(Leaf.number).order_by(Leaf.id))).all()

    assert left == ([] if way is by_deletion else [11, 13])


async def test_rows_that_are_not_there_are_nobodys(session: AsyncSession) -> None:
    with Current.set(tenant_id=1):
        await by_core(session, 1, 99)
        await by_deletion(session, 99)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from tenantjobs import Current
from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import TenantScoped, ain_batches, in_batches, install, uninstall


class Base(DeclarativeBase):
    pass


class Line(Base):
    __tablename__ = "lines"

    order: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(primary_key=True)


class Note(TenantScoped, Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    maker = sessionmaker(engine)
    install(maker)
    yield engine
    uninstall()
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        session.add_all(Line(order=order, number=number) for order in (1, 2) for number in "abc")
        session.commit()
        yield session


def keys(batches: Any) -> list[list[Any]]:
    return [[f"{line.order}{line.number}" for line in batch] for batch in batches]


def test_records_come_in_batches_in_the_order_of_their_key(session: Session) -> None:
    assert keys(in_batches(select(Line), size=4, session=session)) == [["1a", "1b", "1c", "2a"], ["2b", "2c"]]


def test_they_go_on_after_a_key(session: Session) -> None:
    assert keys(in_batches(select(Line), size=2, after=(1, "c"), session=session)) == [["2a", "2b"], ["2c"]]


def test_what_is_deleted_on_the_way_makes_none_be_skipped(session: Session) -> None:
    found = []
    for batch in in_batches(select(Line).where(Line.number != "b"), size=1, session=session):
        found += keys([batch])[0]
        session.delete(batch[0])
        session.commit()

    assert found == ["1a", "1c", "2a", "2c"]


def test_they_keep_to_the_tenant(engine: Engine) -> None:
    with Session(engine) as session:
        for number, tenant in enumerate("abab", 1):
            with Current.set(tenant_id=tenant):
                session.add(Note(id=number))
                session.commit()
        with Current.set(tenant_id="b"):
            batches = [[note.id for note in batch] for batch in in_batches(select(Note), size=1, session=session)]

    assert batches == [[2], [4]]


@pytest.mark.parametrize(
    "statement",
    [
        select(Line).order_by(Line.number),
        select(Line).limit(3),
        select(Line).offset(3),
        select(Line.number),
        select(Line, Note),
    ],
)
def test_a_statement_that_cannot_be_cut_into_batches_is_refused(session: Session, statement: Any) -> None:
    with pytest.raises(ConfigurationError, match="in_batches"):
        in_batches(statement, session=session)


def test_a_size_that_is_none_is_refused(session: Session) -> None:
    with pytest.raises(ConfigurationError, match="from 1 on"):
        in_batches(select(Line), size=0, session=session)


def test_without_a_session_it_is_that_of_the_job() -> None:
    with pytest.raises(ConfigurationError, match="session of the job"):
        in_batches(select(Line))


async def test_an_async_session_is_awaited() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        session.add_all(Line(order=1, number=number) for number in "abc")
        await session.commit()
        batches = [batch async for batch in ain_batches(select(Line), size=2, session=session)]

        assert keys(batches) == [["1a", "1b"], ["1c"]]
    await engine.dispose()

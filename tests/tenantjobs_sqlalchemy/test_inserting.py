"""``insert_once``: the unique constraint says who was first, and the transaction of the caller goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tenantjobs import Current
from tenantjobs.errors import ConfigurationError, TenantMissing
from tenantjobs_sqlalchemy import insert_once
from tests.tenantjobs_sqlalchemy.conftest import ENGINES, MARIADB, Account, Base, Card, Order, database

url = database(*ENGINES, MARIADB)

Maker = sessionmaker[Session]
AsyncMaker = async_sessionmaker[AsyncSession]


def names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.name).order_by(Order.name)))


def test_the_second_is_told_so_and_the_transaction_goes_on(maker: Maker, engine: Engine) -> None:
    with maker() as session:
        session.add(Order(name="before"))
        again = Order(name="a")

        assert insert_once(session, Order(name="a")) is True
        assert insert_once(session, again) is False
        assert again not in session
        session.add(Order(name="after"))
        session.commit()

    assert names(engine) == ["a", "after", "before"]


def test_a_rollback_of_the_transaction_takes_the_row_along(maker: Maker, engine: Engine) -> None:
    with maker() as session:
        assert insert_once(session, Order(name="a"))
        session.rollback()

    assert names(engine) == []


def test_a_rollback_does_so_also_where_the_driver_of_sqlite_begins_the_transactions(tmp_path: Any) -> None:
    plain = create_engine(f"sqlite:///{tmp_path}/plain.db")
    Base.metadata.create_all(plain)
    with Session(plain) as session:
        assert insert_once(session, Order(name="a"))
        session.rollback()

    assert names(plain) == []
    plain.dispose()


def test_a_duplicate_of_another_record_that_waits_in_the_session_is_raised(maker: Maker) -> None:
    with maker() as session:
        session.add_all([Order(name="same"), Order(name="same")])
        with pytest.raises(IntegrityError):
            insert_once(session, Order(name="a"))


def test_any_other_broken_constraint_is_raised_and_the_transaction_goes_on(maker: Maker, engine: Engine) -> None:
    with maker() as session:
        with pytest.raises(IntegrityError):
            insert_once(session, Order(name=None))
        session.add(Order(name="after"))
        session.commit()

    assert names(engine) == ["after"]


def test_a_row_is_filled_with_its_tenant_and_refused_without_one(maker: Maker) -> None:
    with maker() as session, Current.set(tenant_id="7"):
        card = Card(title="a")
        assert insert_once(session, card)
        assert str(card.tenant_id) == "7"
        session.commit()
    with maker() as session, pytest.raises(TenantMissing):
        insert_once(session, Card(title="b"))


def test_what_is_no_new_record_is_refused(maker: Maker) -> None:
    with maker() as session:
        order = Order(name="a")
        session.add(order)
        for wrong in (order, "text", Order):
            with pytest.raises(ConfigurationError, match="a new record that is in no session"):
                insert_once(session, wrong)
        with pytest.raises(ConfigurationError, match="a Session or an AsyncSession"):
            insert_once(object(), Order(name="b"))  # type: ignore[call-overload]


def test_of_many_at_once_one_is_first(maker: Maker, engine: Engine) -> None:
    together, first = threading.Barrier(5), []

    def insert() -> None:
        together.wait()
        with maker.begin() as session:
            if engine.dialect.name == "sqlite":
                session.add(Account(name="the writer"))  # a transaction that writes from its start
                session.flush()
            first.append(insert_once(session, Order(name="a")))

    threads = [threading.Thread(target=insert) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(first) == [False] * 4 + [True]
    assert names(engine) == ["a"]


async def test_an_async_session_awaits_it(amaker: AsyncMaker, engine: Engine) -> None:
    async with amaker() as session:
        assert await insert_once(session, Order(name="a")) is True
        assert await insert_once(session, Order(name="a")) is False
        await session.commit()

    assert await asyncio.to_thread(names, engine) == ["a"]


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_of_an_async_session_the_row_ends_with_the_transaction(
    amaker: AsyncMaker, engine: Engine, ends: str
) -> None:
    async with amaker() as session:
        assert await insert_once(session, Order(name="a"))
        await getattr(session, ends)()

    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Order)) == (1 if ends == "commit" else 0)


def test_a_scoped_session_is_the_one_of_this_thread(maker: Any, engine: Engine) -> None:
    scoped = scoped_session(maker)
    assert insert_once(scoped, Order(name="a")) is True
    assert insert_once(scoped, Order(name="a")) is False
    scoped.remove()

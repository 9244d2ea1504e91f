"""State guards: a lock, a unique constraint, and a condition on the record."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from tenantjobs import Current
from tenantjobs.errors import ConfigurationError, RecordGone, WrongTenant
from tenantjobs_sqlalchemy import insert_once, locked
from tests.tenantjobs_sqlalchemy.conftest import Card, Order

Maker = sessionmaker[Session]
AsyncMaker = async_sessionmaker[AsyncSession]


@pytest.fixture
def order(maker: Maker) -> Iterator[Order]:
    """A stored order, in an open session."""
    with maker() as session:
        session.add(Order(id=1, name="first"))
        session.commit()
        yield session.get_one(Order, 1)


def change(engine: Engine, name: str) -> None:
    """Somebody else changes the order."""
    with engine.begin() as connection:
        connection.execute(update(Order).values(name=name))


def names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.name).order_by(Order.id)))


class TestLocked:
    def test_the_record_is_read_again(self, order: Order, engine: Engine, maker: Maker) -> None:
        session = Session.object_session(order)
        assert session is not None
        session.commit()
        order.name  # loaded, and with it the transaction begun
        session.rollback()
        change(engine, "changed")

        with locked(order) as found:
            assert found is order
            assert order.name == "changed"

    def test_what_was_changed_here_is_not_lost(self, order: Order) -> None:
        order.name = "mine"

        with locked(order):
            assert order.name == "mine"

    def test_nobody_else_writes_it_until_the_transaction_ends(self, order: Order, engine: Engine) -> None:
        session = Session.object_session(order)
        assert session is not None
        with locked(order):
            pass

        with pytest.raises(OperationalError), engine.begin() as other:
            if engine.dialect.name == "sqlite":
                other.exec_driver_sql("PRAGMA busy_timeout = 20")
            else:
                other.execute(text("SET LOCAL lock_timeout = '20ms'"))
            other.execute(update(Order).values(name="theirs"))
        session.commit()
        change(engine, "theirs")

        assert names(engine) == ["theirs"]

    def test_a_row_that_is_gone_is_gone(self, order: Order, engine: Engine) -> None:
        session = Session.object_session(order)
        assert session is not None
        session.rollback()
        with engine.begin() as connection:
            connection.execute(delete(Order))

        with pytest.raises(RecordGone, match="Order"), locked(order):
            pass

    @pytest.mark.parametrize("record", [Order(name="new"), object(), None])
    def test_what_no_session_holds_is_refused(self, record: Any) -> None:
        with pytest.raises(ConfigurationError, match="locked"):
            locked(record)

    def test_two_who_decide_by_the_record_decide_one_after_the_other(self, maker: Maker, engine: Engine) -> None:
        with maker.begin() as session:
            session.add(Order(id=1, name="0"))
        barrier = threading.Barrier(4)

        def count() -> None:
            with maker() as session:
                if engine.dialect.name == "sqlite":
                    session.connection().exec_driver_sql("PRAGMA busy_timeout = 10000")
                barrier.wait()
                for attempt in range(50):
                    try:
                        with locked(session.get_one(Order, 1)) as order:
                            order.name = str(int(order.name) + 1)
                        session.commit()
                        break
                    except OperationalError:  # SQLite: somebody wrote between our first look and the lock
                        session.rollback()
                        assert attempt < 49

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert names(engine) == ["4"]

    async def test_in_an_async_session(self, amaker: AsyncMaker, engine: Engine) -> None:
        async with amaker() as session:
            session.add(Order(id=1, name="first"))
            await session.commit()
            order = await session.get_one(Order, 1)
            await session.rollback()
            change(engine, "changed")
            async with locked(order) as found:
                assert found.name == "changed"


class TestInsertOnce:
    def test_the_first_time_and_not_again(self, maker: Maker, engine: Engine) -> None:
        with maker.begin() as session:
            assert insert_once(session, Order(name="a")) is True
            assert insert_once(session, Order(name="a")) is False
            session.add(Order(name="and the transaction goes on"))

        assert names(engine) == ["a", "and the transaction goes on"]

    def test_it_commits_with_the_rest(self, maker: Maker, engine: Engine) -> None:
        with maker() as session:
            assert insert_once(session, Order(name="a"))
            session.rollback()
            assert insert_once(session, Order(name="a"))
            session.commit()

        assert names(engine) == ["a"]

    def test_also_where_the_driver_begins_no_transaction_for_a_savepoint(self, url: str, engine: Engine) -> None:
        """As an engine without any listener has it."""
        from sqlalchemy import create_engine

        plain = create_engine(url)
        with Session(plain) as session:
            assert insert_once(session, Order(name="a"))
            session.rollback()
        plain.dispose()

        assert names(engine) == []

    def test_a_primary_key_is_unique_too(self, maker: Maker) -> None:
        with maker.begin() as session:
            assert insert_once(session, Order(id=7, name="a"))
            session.expunge_all()
            assert not insert_once(session, Order(id=7, name="b"))

    def test_any_other_violation_is_raised(self, maker: Maker, engine: Engine) -> None:
        with maker() as session, pytest.raises(IntegrityError):
            insert_once(session, Order(name=None))

    def test_it_belongs_to_its_tenant(self, maker: Maker, engine: Engine) -> None:
        table: Any = Card.__table__
        with Current.set(tenant_id="acme"), maker.begin() as session:
            assert insert_once(session, Card(title="a"))
            with pytest.raises(WrongTenant):
                insert_once(session, Card(title="b", tenant_id="globex"))
        with engine.connect() as connection:
            assert list(connection.scalars(select(table.c.tenant_id))) == ["acme"]

    def test_of_many_who_race_one_is_the_first(self, maker: Maker, engine: Engine) -> None:
        firsts: list[bool] = []

        def work() -> None:
            with maker.begin() as session:
                if engine.dialect.name == "sqlite":
                    session.connection().exec_driver_sql("PRAGMA busy_timeout = 10000")
                firsts.append(insert_once(session, Order(name="a")))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(firsts) == [False] * 5 + [True]
        assert names(engine) == ["a"]

    async def test_in_an_async_session(self, amaker: AsyncMaker, engine: Engine) -> None:
        async with amaker() as session:
            assert await insert_once(session, Order(name="a"))
            assert not await insert_once(session, Order(name="a"))
            await session.commit()

        assert names(engine) == ["a"]

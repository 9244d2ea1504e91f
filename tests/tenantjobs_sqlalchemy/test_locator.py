from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, event, insert, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import identity, testing
from tenantjobs.current import Current
from tenantjobs.errors import (
    ArgumentError,
    ConfigurationError,
    RecordGone,
    RecordUnavailable,
    SerializationError,
    WrongTenant,
)
from tenantjobs.identity import GlobalId, PendingRecord
from tenantjobs_sqlalchemy import current_session
from tenantjobs_sqlalchemy.sessions import SessionWork
from tests.tenantjobs_sqlalchemy.conftest import POSTGRES, Account, Card, Order, named

Maker = sessionmaker[Session]
AMaker = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    place: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


class Vehicle(Base):
    __tablename__ = "vehicles"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle"}


class Truck(Vehicle):
    __tablename__ = "trucks"
    truck_id: Mapped[UUID] = mapped_column(ForeignKey("vehicles.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "truck"}


class Van(Vehicle):
    __mapper_args__ = {"polymorphic_identity": "van"}


class Reading(Base):
    __tablename__ = "readings"
    at: Mapped[float] = mapped_column(primary_key=True)


@pytest.fixture
def orders(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(Order), [{"name": "a"}, {"name": "b"}])


@pytest.fixture
def other(maker: Maker, engine: Engine) -> Iterator[None]:
    """The tables of this module."""
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


class TestIdentify:
    def test_a_persistent_record(self, maker: Maker, orders: None) -> None:
        with maker() as session:
            assert identity.identify(session.get(Order, 1)) == named(Order, "1")

    def test_a_detached_record_keeps_its_identity(self, maker: Maker, orders: None) -> None:
        with maker() as session:
            order = session.get(Order, 1)

        assert identity.identify(order) == named(Order, "1")

    def test_an_expired_record_is_not_loaded(self, maker: Maker, engine: Engine, orders: None) -> None:
        with maker() as session:
            order = session.get(Order, 1)
            session.commit()

            assert identity.identify(order) == named(Order, "1")
            assert not session.in_transaction()

    def test_a_pending_record_waits_for_its_key(self, maker: Maker) -> None:
        with maker() as session:
            order = Order(name="a")
            session.add(order)
            pending = identity.identify(order)

            assert isinstance(pending, PendingRecord)
            with pytest.raises(SerializationError):
                pending.resolve()

            session.flush()

            assert pending.resolve() == named(Order, "1")

    def test_a_transient_record_has_none(self, maker: Maker) -> None:
        with pytest.raises(SerializationError, match="add it to a session and flush it first"):
            identity.identify(Order(name="a"))

    def test_a_pending_record_of_an_unknown_session_has_none(self, maker: Maker, engine: Engine) -> None:
        with Session(engine) as session:
            order = Order(name="a")
            session.add(order)

            with pytest.raises(SerializationError, match="does not follow"):
                identity.identify(order)

    @pytest.mark.parametrize("thing", [1, "Order", Order, object(), create_engine("sqlite://"), None])
    def test_other_things_are_not_ours(self, maker: Maker, thing: object) -> None:
        assert identity.identify(thing) is None

    def test_composite_keys_and_other_types(self, other: None, maker: Maker) -> None:
        key = uuid4()
        with maker() as session:
            records = [Item(place="a/b", number=7), Truck(id=key), Van(id=uuid4())]
            session.add_all(records)
            session.flush()
            texts = [str(identity.identify(record)) for record in records]

        assert texts[:2] == [str(named(Item, "a/b", "7")), str(named(Truck, str(key)))]
        assert texts[0].endswith("Item/a%2Fb/7")
        assert "Van/" in texts[2]

    def test_a_key_without_a_text_is_refused(self, other: None, maker: Maker) -> None:
        with maker() as session:
            reading = Reading(at=1.5)
            session.add(reading)
            session.flush()

            with pytest.raises(SerializationError, match="float"):
                identity.identify(reading)

    def test_an_empty_key_is_refused(self, other: None, maker: Maker) -> None:
        with maker() as session:
            item = Item(place="", number=1)
            session.add(item)
            session.flush()

            with pytest.raises(SerializationError):
                identity.identify(item)

    def test_the_name_of_the_application(self, engine: Engine, orders: None) -> None:
        maker = sessionmaker(engine)
        tenantjobs_sqlalchemy.install(maker, name="shop")
        with maker() as session:
            found = identity.identify(session.get(Order, 1))

        assert isinstance(found, GlobalId)
        assert found.app == "shop"
        assert isinstance(identity.locate(found), Order)
        tenantjobs_sqlalchemy.uninstall()

    def test_the_setting_is_the_name_else(self, maker: Maker, orders: None) -> None:
        with testing.override(name="shop"), maker() as session:
            assert str(identity.identify(session.get(Order, 1))).startswith("gid://shop/")

    def test_models_are_known_by_class(self, maker: Maker) -> None:
        assert str(identity.model_of(Order)).endswith("Order")
        assert identity.model_of(dict) is None


class TestLocate:
    def test_in_a_short_session_of_its_own(self, maker: Maker, orders: None) -> None:
        found = identity.locate(named(Order, "1"))

        assert isinstance(found, Order)
        assert found.name == "a"
        assert found not in maker()

    def test_in_the_open_session_of_this_context(self, maker: Maker, orders: None) -> None:
        with maker.begin() as outer, maker.begin() as inner:
            found = identity.locate(named(Order, "1"))

            assert found in inner
            assert found not in outer

    def test_in_the_session_of_the_job(self, maker: Maker, orders: None) -> None:
        with SessionWork().session(), maker.begin():
            assert identity.locate(named(Order, "1")) in current_session()

    def test_it_is_never_stale(self, maker: Maker, engine: Engine, orders: None) -> None:
        with maker() as session:
            order = session.get(Order, 1)
            if engine.dialect.name == "sqlite":
                session.execute(update(Order.__table__).values(name="new").where(Order.__table__.c.id == 1))  # type: ignore[arg-type]  # it is a Table
            else:
                with engine.begin() as connection:
                    connection.execute(update(Order).values(name="new").where(Order.id == 1))

            assert order is not None
            assert order.name == "a"
            assert identity.locate(named(Order, "1")) is order
            assert order.name == "new"

    @pytest.mark.parametrize("autoflush", [True, False])
    def test_what_the_session_has_changed_is_not_lost(self, maker: Maker, orders: None, autoflush: bool) -> None:
        with maker(autoflush=autoflush) as session:
            order = session.get(Order, 1)
            assert order is not None
            order.name = "mine"

            assert identity.locate(named(Order, "1")) is order
            assert order.name == "mine"

    def test_gone(self, maker: Maker, orders: None) -> None:
        with pytest.raises(RecordGone, match="Order/99 does not exist any more"):
            identity.locate(named(Order, "99"))

    def test_unavailable(self, engine: Engine, maker: Maker, orders: None) -> None:
        def refuse(*_: Any) -> None:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))

        event.listen(engine, "before_cursor_execute", refuse)
        with pytest.raises(RecordUnavailable, match="server closed the connection"):
            identity.locate(named(Order, "1"))

    def test_a_server_that_is_down_is_unavailable(self, orders: None) -> None:
        maker = sessionmaker(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
        tenantjobs_sqlalchemy.install(maker)
        with pytest.raises(RecordUnavailable):
            identity.locate(named(Order, "1"))
        tenantjobs_sqlalchemy.uninstall()

    @pytest.mark.parametrize("url", [POSTGRES], indirect=True)
    def test_another_error_of_the_database_is_none_of_these(self, engine: Engine, maker: Maker) -> None:
        Order.metadata.drop_all(engine)
        with pytest.raises(Exception, match="UndefinedTable") as raised:
            identity.locate(named(Order, "1"))

        assert not isinstance(raised.value, ArgumentError)

    @pytest.mark.parametrize("key", [("x",), ("1", "2"), ("01",)])
    def test_a_key_of_the_wrong_shape(self, maker: Maker, key: tuple[str, ...]) -> None:
        with pytest.raises(ArgumentError) as raised:
            identity.locate(named(Order, *key))

        assert not isinstance(raised.value, RecordGone)

    @pytest.mark.parametrize("gid", [GlobalId("other", "Order", ("1",)), GlobalId("app", "Nobody", ("1",))])
    def test_a_name_that_is_not_ours(self, maker: Maker, gid: GlobalId) -> None:
        with pytest.raises(ArgumentError, match="no locator of this process knows"):
            identity.locate(gid)

    def test_composite_keys_and_inheritance(self, other: None, maker: Maker) -> None:
        with maker.begin() as session:
            records = [Item(place="a/b", number=7), Truck(id=uuid4()), Van(id=uuid4())]
            session.add_all(records)
            session.flush()
            names = [identity.identify(record) for record in records]
        found = [identity.locate(name) for name in names if isinstance(name, GlobalId)]

        assert [type(record) for record in found] == [Item, Truck, Van]

    def test_a_record_of_another_tenant_is_not_taken_for_gone(self, maker: Maker) -> None:
        with Current.set(tenant_id="1"), maker.begin() as session:
            session.add(Card(title="a"))
        name = named(Card, "1")
        with Current.set(tenant_id="1"):
            assert isinstance(identity.locate(name), Card)
        with Current.system("test"):
            assert isinstance(identity.locate(name), Card)
        with Current.set(tenant_id="2"):
            with pytest.raises(WrongTenant, match="belongs to tenant 1, not to 2"):
                identity.locate(name)
            with pytest.raises(RecordGone):
                identity.locate(named(Card, "2"))


class TestAlocate:
    async def test_in_a_short_session_of_its_own(self, amaker: AMaker, orders: None) -> None:
        found = await identity.alocate(named(Order, "1"))

        assert isinstance(found, Order)
        assert found.name == "a"

    async def test_in_the_open_session_of_this_context(self, maker: Maker, amaker: AMaker, orders: None) -> None:
        async with amaker() as session:
            await session.connection()
            with maker.begin():
                assert await identity.alocate(named(Order, "1")) in session

    async def test_in_the_session_of_the_job(self, amaker: AMaker, orders: None) -> None:
        async with SessionWork().asession():
            assert await identity.alocate(named(Order, "1")) in current_session()

    async def test_gone_and_unavailable(self, amaker: AMaker, async_engine: AsyncEngine, orders: None) -> None:
        with pytest.raises(RecordGone):
            await identity.alocate(named(Order, "99"))

        def refuse(*_: Any) -> None:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))

        event.listen(async_engine.sync_engine, "before_cursor_execute", refuse)
        with pytest.raises(RecordUnavailable):
            await identity.alocate(named(Order, "1"))

    async def test_with_sync_sessions_only_it_is_loaded_in_a_thread(
        self, engine: Engine, maker: Maker, orders: None
    ) -> None:
        threads: list[int] = []
        event.listen(engine, "before_cursor_execute", lambda *_: threads.append(threading.get_ident()))
        with maker.begin():
            found = await identity.alocate(named(Order, "1"))

        assert isinstance(found, Order)
        assert threads
        assert threading.get_ident() not in threads

    async def test_an_async_job_needs_async_sessions_for_its_records(self, maker: Maker, orders: None) -> None:
        async with SessionWork().asession():
            with pytest.raises(ConfigurationError, match="an async job needs a session"):
                await identity.alocate(named(Order, "1"))

    async def test_but_not_for_its_tenant(self, maker: Maker, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(insert(Account).values(name="acme"))
        with testing.override(tenant=Account):
            async with SessionWork().asession():
                found = await identity.alocate(named(Account, "1"))

        assert isinstance(found, Account)

    async def test_a_synchronous_look_up_does_not_use_an_async_session(
        self, maker: Maker, amaker: AMaker, orders: None
    ) -> None:
        async with SessionWork().asession():
            found = identity.locate(named(Order, "1"))

            assert found not in current_session()
            found = await current_session().run_sync(lambda session: identity.locate(named(Order, "1")))

            assert found in current_session()

    async def test_without_sync_sessions_it_says_so(self, amaker: AMaker, orders: None) -> None:
        with pytest.raises(ConfigurationError, match="a sessionmaker too"):
            identity.locate(named(Order, "1"))


class TestTenantOf:
    def test_a_scoped_record_belongs_to_the_tenant_of_its_column(self, maker: Maker) -> None:
        assert identity.tenant_of(Card(tenant_id="42")) == "42"
        assert identity.tenant_of(Card()) is None
        assert identity.tenant_of(Order()) is None
        assert identity.tenant_of(42) is None

    def test_an_id_that_no_tenant_can_have_is_nobodys(self, maker: Maker) -> None:
        assert identity.tenant_of(Card(tenant_id=0)) == "0"
        assert identity.tenant_of(Card(tenant_id=" 42")) == "' 42'"

    def test_nothing_is_loaded_for_it(self, maker: Maker, engine: Engine) -> None:
        with Current.set(tenant_id="1"), maker() as session:
            card = Card(title="a")
            session.add(card)
            session.commit()

            assert identity.tenant_of(card) is None
            assert not session.in_transaction()

    def test_a_tenant_belongs_to_itself(self, maker: Maker, engine: Engine) -> None:
        with testing.override(tenant=Account), maker() as session:
            account = Account(name="acme")

            assert identity.tenant_of(account) is None

            session.add(account)
            session.flush()

            assert identity.tenant_of(account) == "1"
            assert identity.tenant_of(Order(id=1)) is None


async def test_two_tasks_locate_in_their_own_sessions(amaker: AMaker, orders: None) -> None:
    async def job() -> Any:
        async with SessionWork().asession():
            await asyncio.sleep(0)
            return await identity.alocate(named(Order, "1"))

    first, second = await asyncio.gather(job(), job())

    assert first is not second

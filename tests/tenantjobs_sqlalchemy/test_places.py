from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from tenantjobs.current import Current
from tenantjobs.errors import CrossTenantSwitch, TenantMissing
from tenantjobs_sqlalchemy.engines import TenantEngines
from tenantjobs_sqlalchemy.schemas import TenantSchemas
from tests.tenantjobs_sqlalchemy.conftest import POSTGRES

TENANTS = ("acme", "globex")


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


def databases(folder: Path) -> Iterator[sessionmaker[Session]]:
    engines = TenantEngines(lambda tenant_id: create_engine(f"sqlite:///{folder}/{tenant_id}.db"))
    for tenant_id in TENANTS:
        Base.metadata.create_all(engines.engine_of(tenant_id))
    yield sessionmaker(class_=engines.session_class)
    engines.dispose()


def schemas(engine: Engine, make: str) -> Iterator[sessionmaker[Session]]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for tenant_id in TENANTS:
            connection.exec_driver_sql(make.format(tenant_id))
    for tenant_id in TENANTS:
        Base.metadata.create_all(engine.execution_options(schema_translate_map={None: tenant_id}))
    yield sessionmaker(engine, class_=TenantSchemas(str).session_class)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            for tenant_id in TENANTS:
                connection.exec_driver_sql(f"DROP SCHEMA {tenant_id} CASCADE")
    engine.dispose()


@pytest.fixture(params=["databases", "schemas", POSTGRES])
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sessionmaker[Session]]:
    """What makes sessions of either kind. Each tenant has a note of the key 1."""
    if request.param == "databases":
        makers = databases(tmp_path)
    elif request.param == "schemas":
        makers = schemas(create_engine("sqlite://"), "ATTACH ':memory:' AS {}")
    else:
        makers = schemas(create_engine(request.getfixturevalue("postgres")), "CREATE SCHEMA {}")
    for maker in makers:
        for tenant_id in TENANTS:
            with Current.set(tenant_id=tenant_id), maker.begin() as session:
                session.add(Note(id=1, text=tenant_id))
        yield maker


def test_a_session_works_in_the_place_of_its_tenant(maker: sessionmaker[Session]) -> None:
    for tenant_id in (*TENANTS, *TENANTS):
        with Current.set(tenant_id=tenant_id), maker() as session:
            assert session.scalars(select(Note.text)).all() == [tenant_id]
            assert session.get_one(Note, 1).text == tenant_id


def test_without_a_tenant_it_works_nowhere(maker: sessionmaker[Session]) -> None:
    with maker() as session:
        with pytest.raises(TenantMissing, match="nobody says in which one"):
            session.scalars(select(Note))
        session.add(Note(id=2, text="x"))
        with Current.system("test"), pytest.raises(TenantMissing):
            session.flush()


def test_it_does_not_move_to_another_place(maker: sessionmaker[Session]) -> None:
    with maker() as session:
        with Current.set(tenant_id="acme"):
            note = session.get_one(Note, 1)
        with Current.set(tenant_id="globex"):
            for use in (lambda: session.scalars(select(Note)).all(), lambda: session.get(Note, 1)):
                with pytest.raises(CrossTenantSwitch, match="in the place of tenant acme was used for tenant globex"):
                    use()
        session.rollback()
        with Current.set(tenant_id="globex"):
            for use in (lambda: session.get(Note, 1), lambda: session.refresh(note), lambda: note.text):
                with pytest.raises(CrossTenantSwitch):
                    use()
            session.close()

            assert session.get_one(Note, 1).text == "globex"


def test_nothing_of_the_place_stays_on_the_connection(maker: sessionmaker[Session]) -> None:
    with Current.set(tenant_id="acme"), maker() as session:
        engine = session.connection().engine
        session.commit()
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            assert "acme" not in str(connection.scalar(text("SHOW search_path")))


@pytest.mark.postgres
def test_textual_statements_are_in_the_schema_too(postgres: str) -> None:
    for maker in schemas(create_engine(postgres), "CREATE SCHEMA {}"):
        with Current.set(tenant_id="acme"), maker() as session, session.begin():
            session.add(Note(id=7, text="x"))
            session.flush()
            with session.begin_nested() as savepoint:
                savepoint.rollback()
            assert session.scalar(text("SELECT id FROM notes")) == 7


class TestEngines:
    @pytest.fixture
    def made(self, tmp_path: Path) -> list[Engine]:
        return []

    @pytest.fixture
    def engines(self, made: list[Engine], tmp_path: Path) -> Iterator[TenantEngines]:
        def make(tenant_id: str) -> Engine:
            made.append(create_engine(f"sqlite:///{tmp_path}/{tenant_id}.db"))
            return made[-1]

        engines = TenantEngines(make, limit=2)
        yield engines
        engines.dispose()

    def test_are_made_once(self, engines: TenantEngines, made: list[Engine]) -> None:
        assert engines.engine_of("a") is engines.engine_of("a")
        assert len(made) == 1

    def test_that_were_not_used_for_longest_are_disposed_of(self, engines: TenantEngines, made: list[Engine]) -> None:
        engines.engine_of("a").connect().close()
        pool = made[0].pool
        engines.engine_of("b")
        engines.engine_of("a")
        engines.engine_of("c")

        assert len(engines) == 2
        assert engines.engine_of("a") is made[0]
        assert made[0].pool is pool

        engines.engine_of("d")
        engines.engine_of("e")

        assert made[0].pool is not pool

    def test_in_use_stay(self, engines: TenantEngines, made: list[Engine]) -> None:
        with engines.engine_of("a").connect():
            for tenant_id in "bcd":
                engines.engine_of(tenant_id)

            assert engines.engine_of("a") is made[0]
            assert len(engines) == 2

    def test_of_which_none_is_kept_are_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            TenantEngines(create_engine, limit=0)


async def test_async_sessions_have_places_too(tmp_path: Path) -> None:
    engines = TenantEngines(lambda tenant_id: create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/{tenant_id}.db"))
    maker = async_sessionmaker(sync_session_class=engines.session_class)
    for tenant_id in TENANTS:
        with Current.set(tenant_id=tenant_id):
            async with maker.begin() as session:
                await (await session.connection()).run_sync(Base.metadata.create_all)
                session.add(Note(id=1, text=tenant_id))
            async with maker() as session:
                assert (await session.scalars(select(Note.text))).all() == [tenant_id]
                await session.run_sync(lambda session: session.rollback())
    async with maker() as session:
        with pytest.raises(TenantMissing):
            await session.scalars(select(Note))
        await session.run_sync(lambda _: engines.dispose())

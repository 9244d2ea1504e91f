from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import adapter
from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.identity import GlobalId
from tenantjobs_sqlalchemy import TenantScoped, models
from tests.services import fresh_mariadb, fresh_postgres

POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)
MARIADB = pytest.param("mariadb", marks=pytest.mark.mariadb)
ENGINES = ["sqlite", POSTGRES]

queue = Table(
    "queue", MetaData(), Column("position", Integer, primary_key=True, autoincrement=True), Column("label", String(80))
)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class Account(Base):
    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))


class Card(TenantScoped, Base):
    __tablename__ = "cards"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    comments: Mapped[list[Comment]] = relationship(back_populates="card")


class Comment(TenantScoped, Base):
    __tablename__ = "comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    card_id: Mapped[int] = mapped_column(ForeignKey("cards.id"))
    card: Mapped[Card] = relationship(back_populates="comments")
    account: Mapped[Account] = relationship()


class Recording:
    """A queue elsewhere, which keeps what it is sent."""

    capabilities = Capabilities(bulk=True)

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.envelopes: list[Envelope] = []
        self.error: Exception | None = None

    @property
    def sent(self) -> list[Any]:
        return [label for batch in self.batches for label in batch]

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        if self.error is not None:
            raise self.error
        self.batches.append([label(envelope) for envelope in envelopes])
        self.envelopes += envelopes

    def close(self) -> None: ...


class Joining(Recording):
    """A queue in the database of ``engine``."""

    capabilities = Capabilities(bulk=True, transactional=True)

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.writes: list[list[Any]] = []

    def joins(self, engine: object) -> bool:
        return engine is self.engine

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        assert isinstance(connection, Connection)
        labels = [str(label(envelope)) for envelope in envelopes]
        connection.execute(insert(queue), [{"label": each} for each in labels])
        self.writes.append(labels)

    @property
    def stored(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(queue.c.label).order_by(queue.c.position)))


class Statements:
    """The statements that an engine has been given, by their text."""

    def __init__(self, engine: Engine) -> None:
        self.seen: list[str] = []
        event.listen(engine, "before_cursor_execute", self._keep)

    def _keep(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self.seen.append(statement)

    def inserts(self, table: str) -> list[str]:
        return [statement for statement in self.seen if f"INSERT INTO {table} " in statement]


def named(model: type, *key: str) -> GlobalId:
    """The name of a record. Other tests have models of these names too, and then it is not the shortest."""
    return GlobalId("app", models.name_of(model), key)


def label(envelope: Envelope) -> Any:
    """The first argument: what a test knows the job by."""
    arguments, _ = msgspec.json.decode(envelope.arguments)
    return arguments[0] if arguments else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database of our own, where there is a server."""
    with fresh_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The same of MariaDB."""
    with fresh_mariadb() as url:
        yield url


def database(*kinds: Any) -> Any:
    """The fixture ``url`` of a module: its tests run on a database of each kind."""

    @pytest.fixture(params=kinds)
    def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path}/shop.db"
        found: str = request.getfixturevalue(request.param)
        return found

    return url


url = database(*ENGINES)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An empty database of the application."""
    engine = create_engine(url)
    with_savepoints(engine)
    create_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(url: str, engine: Engine) -> AsyncIterator[AsyncEngine]:
    """The same database, for asyncio."""
    async_engine = create_async_engine(for_asyncio(url))
    with_savepoints(async_engine.sync_engine)
    yield async_engine
    await async_engine.dispose()


@pytest.fixture
def amaker(async_engine: AsyncEngine) -> Iterator[async_sessionmaker[AsyncSession]]:
    """What makes async sessions, installed."""
    amaker = async_sessionmaker(async_engine)
    tenantjobs_sqlalchemy.install(amaker)
    yield amaker
    tenantjobs_sqlalchemy.uninstall()


@pytest.fixture
def maker(engine: Engine) -> Iterator[sessionmaker[Any]]:
    """What makes sessions, installed."""
    maker = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(maker)
    yield maker
    tenantjobs_sqlalchemy.uninstall()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """The configured queue is in no database of the application."""
    recording = Recording()
    monkeypatch.setattr(adapter, "configured", lambda: recording)
    return recording


@pytest.fixture
def within(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Joining:
    """The configured queue is in the database of the application."""
    joining = Joining(engine)
    monkeypatch.setattr(adapter, "configured", lambda: joining)
    return joining


def for_asyncio(url: str) -> str:
    """The same database, by a driver that awaits it."""
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("pymysql", "aiomysql")


def create_tables(engine: Engine) -> None:
    names = []
    for metadata in (Base.metadata, queue.metadata):
        metadata.create_all(engine)
        names += list(metadata.tables)
    if engine.dialect.name == "postgresql":  # the database of all tests
        with engine.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(names)} RESTART IDENTITY")
    elif engine.dialect.name == "mysql":
        with engine.connect() as connection:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
            for name in names:
                connection.exec_driver_sql(f"TRUNCATE {name}")
            connection.exec_driver_sql("SET foreign_key_checks = 1")


def hang_up(connection: Connection) -> None:
    """As a listener of PostgreSQL's connection: the server ends it just before it is asked to commit."""
    process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    other = create_engine(connection.engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as second:
        second.exec_driver_sql(f"SELECT pg_terminate_backend({process})")
        while second.exec_driver_sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {process}").first():
            pass
    other.dispose()


def with_savepoints(engine: Engine) -> None:
    """Let SQLAlchemy begin the transactions of SQLite: by itself sqlite3 begins them too late for savepoints."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _leave_transactions_alone)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


def _leave_transactions_alone(connection: Any, _record: Any) -> None:
    connection.isolation_level = None

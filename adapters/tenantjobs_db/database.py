"""A database as the queue uses it: short transactions of our own, on an engine of our own."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import URL, ClauseElement, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from tenantjobs_db.dialect import Dialect
from tenantjobs_db.dialects import DIALECTS, dialect_of
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.sent import Sent, sends

T = TypeVar("T")

ATTEMPTS = 20  # of a transaction that gives way to others

# Drivers for asyncio, and what connects to the same database without it.
SYNC_DRIVERS = {
    "sqlite+aiosqlite": "sqlite",
    "postgresql+asyncpg": "postgresql+psycopg",
    "postgresql+psycopg_async": "postgresql+psycopg",
    "mysql+aiomysql": "mysql+pymysql",
    "mysql+asyncmy": "mysql+pymysql",
    "mariadb+aiomysql": "mariadb+pymysql",
    "mariadb+asyncmy": "mariadb+pymysql",
}


# An error of the database is logged, and the arguments of jobs are among its parameters.
DISCREET: Mapping[str, Any] = {"hide_parameters": True}


class Database:
    """An engine and its dialect.

    ``embedded`` says that the database is the queue's own file, or memory: nobody else looks after its schema.
    """

    def __init__(self, engine: Engine, dialect: Dialect, *, owned: bool = True, embedded: bool = False) -> None:
        self.engine = engine
        self.dialect = dialect
        self.embedded = embedded
        self.in_memory = _in_memory(engine)
        self._owned = owned
        self._transaction = dialect.transactional(engine) if owned else engine
        self._autocommit = dialect.autocommitting(engine) if owned else engine
        # Memory is one connection, and a connection has one transaction.
        self._turn: AbstractContextManager[object] = threading.RLock() if self.in_memory else nullcontext()
        if owned:
            _forget_in_children(engine)
            _forget_in_children(self._autocommit)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that may write; committed at the end, rolled back by an error."""
        with self._turn, self._transaction.begin() as connection:
            yield connection

    @contextmanager
    def still(self) -> Iterator[Connection]:
        """A transaction that sees the database as it is at its begin, and keeps nobody from writing."""
        with self._turn, self.engine.execution_options(**self.dialect.looking).connect() as connection:
            if self._owned:
                self.dialect.hold_still(connection)
            yield connection
            connection.rollback()

    def run(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns in a transaction of its own, which is tried again if it gave way to another one."""
        for attempt in range(ATTEMPTS):
            try:
                with self.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not self.dialect.gave_way(error) or attempt == ATTEMPTS - 1:
                    raise
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))
        raise AssertionError("the last attempt has returned or raised")

    def within(self, connection: object | None, joins: Callable[[object], bool], work: Callable[[Connection], T]) -> T:
        """The same in the transaction of ``connection`` if that ``joins``; its owner commits, and tries again."""
        if isinstance(connection, Connection) and (self.began(connection) or joins(connection)):
            return work(connection)
        return self.run(work)

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """For one statement, which commits by itself: half the round trips of a transaction."""
        with self._turn, self._autocommit.connect() as connection:
            yield connection
            if not self._owned:
                connection.commit()

    def prepared(self, statement: ClauseElement) -> Prepared | None:
        """``statement`` as one that commits by itself, without SQLAlchemy; None where the connections are not so."""
        return Prepared(self._autocommit, statement) if self._owned and not self.in_memory else None

    def sent(self, statement: ClauseElement) -> Prepared | None:
        """The same for one that writes, and may be repeated, see ``Sent``."""
        if sends(self.engine) and self._owned:
            return Sent(self._autocommit, statement)
        return self.prepared(statement)

    def joined(self, connection: object | None, joins: Callable[[object], bool]) -> AbstractContextManager[Connection]:
        """The transaction of ``connection`` if that ``joins``, whose owner commits; else one of our own."""
        if isinstance(connection, Connection) and (self.began(connection) or joins(connection)):
            return nullcontext(connection)
        return self.begin()

    def began(self, connection: Connection) -> bool:
        """True if it is one of ours."""
        return connection.engine.pool is self.engine.pool

    def detached(self) -> Any:
        """A connection of the driver, apart from the pool; whoever has it closes it."""
        pooled = self.engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        return connection

    def close(self) -> None:
        """Close our connections, those in use when they come back; those of the application stay."""
        if self._owned:
            _close(self.engine)
            _close(self._autocommit)


def own(url: str | URL, *, synchronous: str = "FULL", busy_timeout: float = 10.0, notify: bool = True) -> Database:
    """The queue's own database at ``url``."""
    url = _sync(make_url(url))
    if _is_memory(url):
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False}, **DISCREET)
    else:
        engine = create_engine(url, **_options(url))
    embedded = engine.dialect.name == "sqlite"
    database = _ours(engine, synchronous=synchronous, busy_timeout=busy_timeout, wal=embedded, embedded=embedded)
    return database if notify else _silent(database)


def beside(
    engine: Engine,
    url: str | None = None,
    *,
    synchronous: str = "FULL",
    busy_timeout: float = 10.0,
    notify: bool = True,
) -> Database:
    """The database of the application's ``engine``, on connections of our own.

    The application's engine is not touched: our transactions want other settings than it may have, and must not wait
    for its pool. Memory cannot be connected to twice; there the engine itself is used.
    """
    if _in_memory(engine):
        return Database(engine, dialect_of(engine.dialect.name), owned=False)
    if url is not None:
        address = _sync(make_url(url))
        ours = create_engine(address, **_options(address))
    elif engine.dialect.is_async:
        ours = create_engine(_sync(engine.url), **_options(engine.url))
    else:
        # Another pool that connects as the application's does, with its arguments and its listeners.
        ours = create_engine(engine.url, pool=engine.pool.recreate(), **_options(engine.url))
    # The journal mode belongs to the file, and the file to the application.
    database = _ours(ours, synchronous=synchronous, busy_timeout=busy_timeout, wal=False, embedded=False)
    return database if notify else _silent(database)


def _silent(database: Database) -> Database:
    database.dialect.notifies = False
    return database


def _ours(engine: Engine, *, synchronous: str, busy_timeout: float, wal: bool, embedded: bool) -> Database:
    dialect = dialect_of(engine.dialect.name)
    dialect.prepare(engine, synchronous=synchronous, busy_timeout=busy_timeout, wal=wal)
    return Database(engine, dialect, embedded=embedded)


def _options(url: URL) -> dict[str, Any]:
    name = url.get_backend_name()
    return {**DISCREET, **(dialect_of(name).options if name in DIALECTS else {})}


def _sync(url: URL) -> URL:
    return url.set(drivername=SYNC_DRIVERS.get(url.drivername, url.drivername))


def _in_memory(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite" and (_is_memory(engine.url) or isinstance(engine.pool, StaticPool))


def _is_memory(url: URL) -> bool:
    return not url.database or ":memory:" in url.database or url.query.get("mode") == "memory"


def _close(engine: Engine) -> None:
    pool = engine.pool
    engine.dispose()
    # A pool that is disposed of would take back what is in use now, and leave it open.
    event.listen(pool, "checkin", lambda _connection, record: record.close())
    pool.dispose()


def _forget_in_children(engine: Engine) -> None:
    # A forked child must not speak on its parent's connections.
    reference = weakref.ref(engine)

    def forget() -> None:
        inherited = reference()
        if inherited is not None:
            inherited.dispose(close=False)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)

"""What differs between databases, and nothing else: the clock, locks, inserts that ignore what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    GenerativeSelect,
    Insert,
    Table,
    bindparam,
    event,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.type_api import TypeEngine

from tenantjobs.errors import ConfigurationError
from tenantjobs_db.columns import Moment

S = TypeVar("S", bound=GenerativeSelect)

UPGRADE_LOCK = 0x746A_5F73_6368  # "tj_sch": concurrent upgraders wait for each other
UPGRADE_PATIENCE = 600  # seconds, where such a wait must have an end

_micro: ColumnElement[int] = literal_column("6")  # digits of fraction
_moment: TypeEngine[datetime] = Moment()


class Dialect:
    """One database's own way. The methods here are those of a database with row locks."""

    name: ClassVar[str]
    # Execution options under which a statement commits by itself, and under which a transaction runs.
    autocommit: ClassVar[Mapping[str, Any]]
    transaction: ClassVar[Mapping[str, Any]]
    # True where arrays are parameters, LATERAL is spoken and an UPDATE returns rows: many jobs, one statement.
    set_based: ClassVar[bool] = False
    # True where a transaction that has written keeps every other from writing.
    one_writer: ClassVar[bool] = False
    # False where every row is in every index, so that an index begins with the state.
    partial_indexes: ClassVar[bool] = True
    # False where the count of ``insert_new`` says nothing about which rows were new.
    counts_inserts: ClassVar[bool] = True

    def now(self) -> ColumnElement[datetime]:
        """The time of the database: leases and due times are compared by one clock."""
        raise NotImplementedError

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        """``now()`` and some seconds."""
        raise NotImplementedError

    def insert_new(self, table: Table) -> Insert:
        """An insert that leaves alone a row whose key is already there."""
        raise NotImplementedError

    def skip_locked(self, statement: S, table: Table) -> S:
        """Lock what is selected from ``table``, and leave out what another transaction has locked."""
        return statement.with_for_update(skip_locked=True, of=table)

    def upgrading(self, connection: Connection) -> AbstractContextManager[object]:
        """Keep other upgraders out while the block runs, and until its transaction ends where there is one of DDL."""
        raise NotImplementedError

    def prepare(self, engine: Engine, *, synchronous: str, busy_timeout: float, wal: bool) -> None:
        """Have the connections of ``engine``, which is ours, be as the queue wants them."""


class PostgreSQL(Dialect):
    name = "postgresql"
    autocommit = {"isolation_level": "AUTOCOMMIT"}
    transaction = {"isolation_level": "READ COMMITTED"}
    set_based = True

    def now(self) -> ColumnElement[datetime]:
        # The time of the statement, not of a transaction that the application may have begun long ago; unlike
        # clock_timestamp() it can be looked up in an index.
        return func.statement_timestamp(type_=_moment)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        return func.statement_timestamp(type_=_moment).op("+", return_type=_moment)(seconds.op("*")(second))

    def insert_new(self, table: Table) -> Insert:
        return postgresql.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))

    def upgrading(self, connection: Connection) -> AbstractContextManager[object]:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        return nullcontext()


class MySQL(Dialect):
    """MariaDB from 10.6 on, and MySQL from 8.0.17 on: in the words that both of them know."""

    name = "mysql"
    # The isolation level belongs to the session here, and is set once, when we connect.
    autocommit = {}
    transaction = {}
    partial_indexes = False
    counts_inserts = False

    def now(self) -> ColumnElement[datetime]:
        return func.utc_timestamp(_micro, type_=_moment)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        microseconds = func.round(seconds.op("*")(literal_column("1000000")))
        return func.timestampadd(literal_column("MICROSECOND"), microseconds, self.now(), type_=_moment)

    def insert_new(self, table: Table) -> Insert:
        # INSERT IGNORE would also cut off a text that is too long, and a row that it finds it locks as a reader, so
        # that two who go on to write it are a deadlock.
        first = next(iter(table.primary_key))
        return mysql.insert(table).on_duplicate_key_update({first.name: first})

    def skip_locked(self, statement: S, table: Table) -> S:  # noqa: ARG002
        return statement.with_for_update(skip_locked=True)  # MariaDB knows no OF; a subquery is not locked anyway

    @contextmanager
    def upgrading(self, connection: Connection) -> Iterator[None]:
        # Each statement of DDL commits, so that no lock of a transaction lasts. The name is one for the whole server.
        lock = {"name": connection.execute(text("SELECT concat('tj_schema.', md5(database()))")).scalar_one()}
        lock["patience"] = UPGRADE_PATIENCE
        if connection.execute(text("SELECT get_lock(:name, :patience)"), lock).scalar_one() != 1:
            raise ConfigurationError("another process has been upgrading the queue's schema for more than ten minutes")
        try:
            yield
        finally:
            connection.execute(text("SELECT release_lock(:name)"), lock)

    def prepare(self, engine: Engine, *, synchronous: str, busy_timeout: float, wal: bool) -> None:  # noqa: ARG002
        """Repeatable reads would lock the gaps between rows, and so keep others from enqueueing."""

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.close()


class SQLite(Dialect):
    """The clock of a file is that of its machine; ``clock`` lets tests move it."""

    name = "sqlite"
    one_writer = True
    autocommit = {"tenantjobs_begin": None}
    transaction = {"tenantjobs_begin": "BEGIN IMMEDIATE"}

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.clock = clock or (lambda: datetime.now(UTC))

    def now(self) -> ColumnElement[datetime]:
        # Read when a statement is executed. SQLite's own clock has milliseconds, which would put a job that is
        # due now a moment into the future.
        return bindparam("tj_now", callable_=lambda: self.clock(), type_=_moment)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        # Written as SQLAlchemy writes a DateTime: six digits of fraction.
        return func.strftime("%Y-%m-%d %H:%M:%f000", self.now(), seconds.op("||")(" seconds"), type_=_moment)

    def insert_new(self, table: Table) -> Insert:
        return sqlite.insert(table).on_conflict_do_nothing()

    def skip_locked(self, statement: S, table: Table) -> S:  # noqa: ARG002
        return statement  # one writer at a time: nothing is locked by another

    def upgrading(self, connection: Connection) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()  # BEGIN IMMEDIATE has done it

    def prepare(self, engine: Engine, *, synchronous: str, busy_timeout: float, wal: bool) -> None:
        """Begin as writers do: a deferred BEGIN may find the file locked half way."""

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: object) -> None:
            connection.isolation_level = None  # the driver begins nothing behind our back
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={round(busy_timeout * 1000)}")
            # Asked first: switching wants the file for itself, even if there is nothing to switch.
            if wal and cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute(f"PRAGMA synchronous={synchronous}")
            cursor.close()

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            begin = connection.get_execution_options().get("tenantjobs_begin")
            if begin is not None:
                connection.exec_driver_sql(begin)


# As SQLAlchemy calls them.
DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "mariadb": MySQL,
    "mysql": MySQL,
    "postgresql": PostgreSQL,
    "sqlite": SQLite,
}


def dialect_of(name: str) -> Dialect:
    """The dialect called ``name``; ConfigurationError for a database that the queue does not speak to."""
    try:
        return DIALECTS[name]()
    except KeyError:
        raise ConfigurationError(
            f"tenantjobs_db has no dialect for {name!r}; it speaks {', '.join(sorted(DIALECTS))}"
        ) from None


def seconds(name: str) -> ColumnElement[float]:
    """The parameter ``name`` of a statement, in seconds."""
    return bindparam(name, type_=Float())

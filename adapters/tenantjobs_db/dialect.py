"""What differs between databases, and nothing else: the clock, locks, inserts that ignore what is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from inspect import signature
from typing import Any, ClassVar, TypeVar, cast

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    GenerativeSelect,
    Insert,
    Select,
    Table,
    Text,
    bindparam,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.type_api import TypeEngine

from tenantjobs.errors import ConfigurationError, EnqueueError
from tenantjobs_db.columns import Moment
from tenantjobs_sqlalchemy.conflicts import mysql_code

S = TypeVar("S", bound=GenerativeSelect)

UPGRADE_LOCK = 0x746A_5F73_6368  # "tj_sch": concurrent upgraders wait for each other
UPGRADE_PATIENCE = 600  # seconds, where such a wait must have an end

LONGEST_NAME = 240  # characters: columns of MySQL have room for 255, and some hold a name and more
_GAVE_WAY = {1205, 1213}  # waited for a lock for too long; was chosen to end a deadlock

# From SQLAlchemy 2.0.43 on: nothing is to be rolled back where each statement has committed.
_WITHOUT_ROLLBACK: Mapping[str, Any] = (
    {"skip_autocommit_rollback": True} if "skip_autocommit_rollback" in signature(DefaultDialect).parameters else {}
)

_digits: ColumnElement[int] = literal_column("6")  # of the fraction of a second
_microsecond: ColumnElement[Any] = literal_column("MICROSECOND")
_moment: TypeEngine[datetime] = Moment()


class Dialect:
    """One database's own way. The methods here are those of a database with row locks."""

    name: ClassVar[str]
    # What ``create_engine`` is told beside the address.
    options: ClassVar[Mapping[str, Any]] = {}
    # Execution options of a transaction that only reads.
    looking: ClassVar[Mapping[str, Any]] = {}
    # True where arrays are parameters, LATERAL is spoken and an UPDATE returns rows: many jobs, one statement.
    set_based: ClassVar[bool] = False
    # True where a transaction that has written keeps every other from writing.
    one_writer: ClassVar[bool] = False
    # False where every row is in every index, so that an index begins with the state.
    partial_indexes: ClassVar[bool] = True
    # True where a recursive query is a skip scan: it looks into the index once for each of its rows.
    skip_scans: ClassVar[bool] = True
    # True where rows of JSON are a table: many jobs, one statement that says how many it has found.
    json_rows: ClassVar[bool] = False
    # True where a driver makes one statement of any number of rows, provided that all their values are parameters.
    plain_bulk: ClassVar[bool] = False
    # True where those who enqueue call workers that are asleep, unless it is switched off.
    notifies: bool = False

    def transactional(self, engine: Engine) -> Engine:
        """``engine`` as one that begins as our transactions want to."""
        return engine

    def autocommitting(self, engine: Engine) -> Engine:
        """One like ``engine``, of which each statement commits by itself."""
        # With connections of its own: to switch one there and back takes three times as long as a statement.
        pool = engine.pool.recreate()
        return create_engine(
            engine.url, pool=pool, isolation_level="AUTOCOMMIT", hide_parameters=True, **_WITHOUT_ROLLBACK
        )

    def now(self) -> ColumnElement[datetime]:
        """The time of the database: leases and due times are compared by one clock."""
        raise NotImplementedError

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        """``now()`` and some seconds."""
        raise NotImplementedError

    def insert_new(self, table: Table) -> Insert:
        """An insert that leaves alone a row whose key is already there."""
        raise NotImplementedError

    def insert_counted(self, table: Table, moment: Column[datetime]) -> Insert:  # noqa: ARG002
        """The same, and its ``rowcount`` is that of the rows only if all were new.

        Where that is not to be had otherwise, ``moment`` of a row that is there moves by a microsecond.
        """
        # SQLAlchemy keeps the count of an INSERT only if it is told to.
        return self.insert_new(table).execution_options(preserve_rowcount=True)

    def row(self, values: Iterable[ColumnElement[Any]]) -> Select[Any]:
        """The row of these values, as a SELECT that may have a condition."""
        return select(*values)

    def among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Whether it is one of the parameter ``name``, which is what ``listing`` makes of them."""
        return column.in_(bindparam(name, expanding=True))

    def listing(self, values: Sequence[Any]) -> Any:
        """Any number of values as one parameter."""
        return values

    def skip_locked(self, statement: S, table: Table, index: str | None = None) -> S:  # noqa: ARG002
        """Lock what is selected from ``table``, and leave out what another transaction has locked.

        ``index`` has the rows in the order in which they are wanted, so that not more are looked at than that.
        """
        return statement.with_for_update(skip_locked=True, of=table)

    def gave_way(self, error: DBAPIError) -> bool:  # noqa: ARG002
        """True if a transaction was given up for the sake of another, which orderly locking does not prevent here."""
        return False

    def check_length(self, what: str, text: str) -> None:
        """Raise EnqueueError for a text that would be cut off."""

    def newest(self, statement: S) -> S:
        """Select what is committed by now, also in a transaction of the application's that began before that."""
        return statement

    def hold_still(self, connection: Connection) -> None:
        """Have the transaction that begins with this see the database as it is now, to its end."""

    def writers(self, connection: Connection, tables: Iterable[str]) -> frozenset[str]:  # noqa: ARG002
        """The open transactions that have written to one of ``tables``, where what they wrote cannot be waited for."""
        return frozenset()

    def upgrading(self, connection: Connection) -> AbstractContextManager[object]:
        """Keep other upgraders out while the block runs, and until its transaction ends where there is one of DDL."""
        raise NotImplementedError

    def prepare(self, engine: Engine, *, synchronous: str, busy_timeout: float, wal: bool) -> None:
        """Have the connections of ``engine``, which is ours, be as the queue wants them."""


class PostgreSQL(Dialect):
    name = "postgresql"
    options = {"isolation_level": "READ COMMITTED"}
    set_based = True
    notifies = True

    def now(self) -> ColumnElement[datetime]:
        # The time of the statement, not of a transaction that the application may have begun long ago; unlike
        # clock_timestamp() it can be looked up in an index.
        return func.statement_timestamp(type_=_moment)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        return self.now().op("+", return_type=_moment)(seconds.op("*")(second))

    def insert_new(self, table: Table) -> Insert:
        return postgresql.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))

    def hold_still(self, connection: Connection) -> None:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))

    def writers(self, connection: Connection, tables: Iterable[str]) -> frozenset[str]:
        # A row that is not committed is visible to nobody and locked for nobody, but its table is.
        rows = connection.execute(_WRITERS, {"names": list(tables)})
        return frozenset(f"transaction {row.virtualtransaction} of process {row.pid}" for row in rows)

    def upgrading(self, connection: Connection) -> AbstractContextManager[object]:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        return nullcontext()


class MySQL(Dialect):
    """MariaDB from 10.6 on, and MySQL from 8.0.17 on: in the words that both of them know."""

    name = "mysql"
    partial_indexes = False
    skip_scans = False
    plain_bulk = True

    def now(self) -> ColumnElement[datetime]:
        return func.utc_timestamp(_digits, type_=_moment)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        microseconds = func.round(seconds.op("*")(literal_column("1000000")))
        return func.timestampadd(_microsecond, microseconds, self.now(), type_=_moment)

    def insert_new(self, table: Table) -> Insert:
        # INSERT IGNORE would cut off what is too long, too, and lock a row that is there as a reader does: two who
        # then go on to write it are a deadlock.
        first = next(iter(table.primary_key))
        return mysql.insert(table).on_duplicate_key_update({first.name: first})

    def insert_counted(self, table: Table, moment: Column[datetime]) -> Insert:
        # A row that is changed counts twice. One that is left as it is counts once, as a new one does: SQLAlchemy has
        # its drivers count the rows that were found.
        later = func.timestampadd(_microsecond, literal_column("1"), moment)
        changed = mysql.insert(table).on_duplicate_key_update({moment.name: later})
        return changed.execution_options(preserve_rowcount=True)

    def row(self, values: Iterable[ColumnElement[Any]]) -> Select[Any]:
        return super().row(values).select_from(text("DUAL"))

    def skip_locked(self, statement: S, table: Table, index: str | None = None) -> S:
        # MariaDB knows no OF; the rows of a subquery are not locked anyway.
        locking = statement.with_for_update(skip_locked=True)
        if index is None:
            return locking
        # What is looked at to be sorted is locked as well.
        for name in ("mysql", "mariadb"):
            locking = cast(Any, locking).with_hint(table, f"FORCE INDEX ({index})", name)
        return locking

    def gave_way(self, error: DBAPIError) -> bool:
        # Inserts lock gaps between rows, and a wait for a lock has an end.
        return mysql_code(error.orig) in _GAVE_WAY

    def check_length(self, what: str, text: str) -> None:
        # The application's connection may be one that cuts off without a word.
        if len(text) > LONGEST_NAME:
            raise EnqueueError(f"no job was enqueued: {what} has at most {LONGEST_NAME} characters here, not {text!r}")

    def newest(self, statement: S) -> S:
        return statement.with_for_update(read=True)

    def hold_still(self, connection: Connection) -> None:
        # For the next transaction only: the connection goes back to others.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        connection.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))

    @contextmanager
    def upgrading(self, connection: Connection) -> Iterator[None]:
        # Each statement of DDL commits, so that no lock of a transaction lasts. The name is one for the whole server.
        lock = {"name": connection.execute(text("SELECT concat('tj_schema.', md5(database()))")).scalar_one()}
        lock["patience"] = UPGRADE_PATIENCE
        if connection.execute(text("SELECT get_lock(:name, :patience)"), lock).scalar_one() != 1:
            raise ConfigurationError("another process has been upgrading the queue's schema for more than ten minutes")
        try:
            yield
            connection.execute(text("COMMIT"))  # the next one in here has to see that the last step was taken
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
    json_rows = sqlite3.sqlite_version_info >= (3, 38)  # which has UPDATE ... FROM, and JSON in every build
    looking = {"tenantjobs_begin": "BEGIN"}

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.clock = clock or (lambda: datetime.now(UTC))

    def transactional(self, engine: Engine) -> Engine:
        return engine.execution_options(tenantjobs_begin="BEGIN IMMEDIATE")

    def autocommitting(self, engine: Engine) -> Engine:
        return engine.execution_options(tenantjobs_begin=None)

    def now(self) -> ColumnElement[datetime]:
        # Read when a statement is executed. SQLite's own clock has milliseconds, which would put a job that is
        # due now a moment into the future.
        return bindparam("tj_now", callable_=lambda: self.clock(), type_=_moment)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        # Written as SQLAlchemy writes a DateTime: six digits of fraction.
        return func.strftime("%Y-%m-%d %H:%M:%f000", self.now(), seconds.op("||")(" seconds"), type_=_moment)

    def insert_new(self, table: Table) -> Insert:
        return sqlite.insert(table).on_conflict_do_nothing()

    def among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        return column.in_(select(func.json_each(bindparam(name, type_=Text())).table_valued("value").c.value))

    def listing(self, values: Sequence[Any]) -> Any:
        # One text, whose statement is the same for any number: each parameter of its own costs more than its row does.
        return msgspec.json.encode(values).decode()

    def skip_locked(self, statement: S, table: Table, index: str | None = None) -> S:  # noqa: ARG002
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


_WRITERS = text("""
    SELECT DISTINCT virtualtransaction, pid FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation IN (SELECT to_regclass(name)::oid FROM unnest(CAST(:names AS text[])) AS name)
""")

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

"""MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Select,
    Table,
    event,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError

from tenantjobs.errors import ConfigurationError, EnqueueError
from tenantjobs_db.columns import MOMENT
from tenantjobs_db.dialect import Dialect, S
from tenantjobs_db.error_codes import mysql_code

UPGRADE_PATIENCE = 600  # seconds that an upgrader waits for another one

LONGEST_NAME = 240  # characters: columns have room for 255, and some hold a name and more
_GAVE_WAY = {1205, 1213}  # waited for a lock for too long; was chosen to end a deadlock

_digits: ColumnElement[int] = literal_column("6")  # of the fraction of a second
_microsecond: ColumnElement[Any] = literal_column("MICROSECOND")


class MySQL(Dialect):
    """MariaDB from 10.6 on, and MySQL from 8.0.17 on: in the words that both of them know."""

    name = "mysql"
    partial_indexes = False
    skip_scans = False
    plain_bulk = True

    def now(self) -> ColumnElement[datetime]:
        return func.utc_timestamp(_digits, type_=MOMENT)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        microseconds = func.round(seconds.op("*")(literal_column("1000000")))
        return func.timestampadd(_microsecond, microseconds, self.now(), type_=MOMENT)

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
        return mysql_code(error) in _GAVE_WAY

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

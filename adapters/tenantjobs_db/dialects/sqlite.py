"""SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Insert, Table, Text, bindparam, event, func, select
from sqlalchemy.dialects import sqlite

from tenantjobs_db.columns import MOMENT
from tenantjobs_db.dialect import Dialect, S


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
        return bindparam("tj_now", callable_=lambda: self.clock(), type_=MOMENT)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        # Written as SQLAlchemy writes a DateTime: six digits of fraction.
        return func.strftime("%Y-%m-%d %H:%M:%f000", self.now(), seconds.op("||")(" seconds"), type_=MOMENT)

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

"""PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Insert, Table, event, func, literal_column, text
from sqlalchemy.dialects import postgresql

from tenantjobs_db.columns import MOMENT
from tenantjobs_db.dialect import Dialect

UPGRADE_LOCK = 0x746A_5F73_6368  # "tj_sch": concurrent upgraders wait for each other


class PostgreSQL(Dialect):
    name = "postgresql"
    options = {"isolation_level": "READ COMMITTED"}
    set_based = True
    notifies = True

    def now(self) -> ColumnElement[datetime]:
        # The time of the statement, not of a transaction that the application may have begun long ago; unlike
        # clock_timestamp() it can be looked up in an index.
        return func.statement_timestamp(type_=MOMENT)

    def after(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        return self.now().op("+", return_type=MOMENT)(seconds.op("*")(second))

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

    def prepare(self, engine: Engine, *, synchronous: str, busy_timeout: float, wal: bool) -> None:  # noqa: ARG002
        """Plan each statement once, by its indexes, and do not compile it.

        A worker that has been idle has plans of a table with a few rows, which it would scan: when 300,000 jobs came
        at once, a claim took 52 to 114 ms instead of 0.4 until the table was analyzed. Where plans by indexes look
        dear, the server makes one for each execution instead, which takes twice as long as the claim of one job.
        Compiling looks worth while with many jobs waiting: 64 ms for a statement of 8 ms, at each of its first
        executions.
        """

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: object) -> None:
            autocommit, connection.autocommit = connection.autocommit, True
            cursor = connection.cursor()
            cursor.execute("SET jit = off; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
            cursor.close()
            connection.autocommit = autocommit


_WRITERS = text("""
    SELECT DISTINCT virtualtransaction, pid FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation IN (SELECT to_regclass(name)::oid FROM unnest(CAST(:names AS text[])) AS name)
""")

"""What differs between databases, and nothing else: the clock, locks, inserts that ignore what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from inspect import signature
from typing import Any, ClassVar, TypeVar

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
    bindparam,
    create_engine,
    select,
)
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError

S = TypeVar("S", bound=GenerativeSelect)

# From SQLAlchemy 2.0.43 on: nothing is to be rolled back where each statement has committed.
_WITHOUT_ROLLBACK: Mapping[str, Any] = (
    {"skip_autocommit_rollback": True} if "skip_autocommit_rollback" in signature(DefaultDialect).parameters else {}
)


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


def seconds(name: str) -> ColumnElement[float]:
    """The parameter ``name`` of a statement, in seconds."""
    return bindparam(name, type_=Float())

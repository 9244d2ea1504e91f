"""Writing jobs into the queue: rows of envelopes, in one statement on whatever connection it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Executable, Integer, Text, select

from tenantjobs.envelope import Envelope
from tenantjobs_db.calling import calling, calling_for_one
from tenantjobs_db.closing import insert_unless_closed, is_any_closed, refuse_closed
from tenantjobs_db.columns import Moment
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.inserting import CHUNK, Columns, as_arrays, incoming
from tenantjobs_db.tables import READY, SCHEDULED, due, due_state, jobs

COLUMNS: Columns = {
    "id": Text(),
    "queue": Text(),
    "tenant": Text(),
    "name": Text(),
    "priority": Integer(),
    "attempt": Integer(),
    "enqueued_at": Moment(),
    "due_at": Moment(),
    "data": Text(),
}


TENANTS = "tenants"  # the parameter of those that the rows are of


class Enqueuing:
    """Inserts envelopes; an id that is there already stays as it is. The owner of the connection commits.

    ``TenantClosed`` or ``TenantGone`` if one of them is of a tenant that is closed, and the transaction is to be
    rolled back.
    """

    def __init__(self, dialect: Dialect) -> None:
        given = [jobs.c[name] for name in COLUMNS if name != "due_at"]
        state: dict[str, ColumnElement[Any]] = {"state": due_state(due(), dialect.now()), "due_at": due()}
        insert = insert_unless_closed(dialect, jobs, given, state)
        #: Of one job, with its ``row``; it counts 1 if that is new, and its tenant not closed.
        self.insert_one = calling_for_one(insert) if dialect.notifies else insert
        # A condition on each of many rows would cost a quarter more.
        self._insert_each = dialect.insert_new(jobs).values(**state)
        self._insert_all = _insert_all(dialect) if dialect.set_based else None
        self._plain_insert = dialect.insert_new(jobs) if dialect.plain_bulk else None
        self._now = select(dialect.now())
        self._dialect = dialect

    def insert(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        self._check_lengths(envelopes)
        if self._inserted(connection, envelopes) < len(envelopes):
            # Those that are missing were there already, or are of a tenant that is closed.
            refuse_closed(connection, [envelope.tenant_id or "" for envelope in envelopes])

    def is_one_statement(self, envelopes: Sequence[Envelope]) -> bool:
        """Whether ``insert`` stores all or none of them by one statement, which may then commit by itself."""
        return self._insert_all is not None and 1 < len(envelopes) <= CHUNK

    def row(self, envelope: Envelope) -> dict[str, Any]:
        """The parameters of ``insert_one``; ``EnqueueError`` for names that are too long for the database."""
        self._check_lengths([envelope])
        return _row(envelope)

    def _check_lengths(self, envelopes: Sequence[Envelope]) -> None:
        for name in {envelope.name for envelope in envelopes}:
            self._dialect.check_length("the name of a job", name)
        for queue in {envelope.queue for envelope in envelopes}:
            self._dialect.check_length("the name of a queue", queue)

    def _inserted(self, connection: Connection, envelopes: Sequence[Envelope]) -> int:
        """How many of them are known to be there for the first time."""
        if len(envelopes) == 1:
            one: CursorResult[Any] = connection.execute(self.insert_one, _row(envelopes[0]))
            return one.rowcount
        elif self._plain_insert is not None:
            is_any_due = any(envelope.due_at is not None for envelope in envelopes)
            now = connection.execute(self._now).scalar_one() if is_any_due else None
            connection.execute(self._plain_insert, [_plain_row(envelope, now) for envelope in envelopes])
            return 0  # it has asked for no tenant
        elif self._insert_all is None:
            connection.execute(self._insert_each, [_row(envelope) for envelope in envelopes])
            return 0  # nor has this one
        else:
            chunks = [envelopes[start : start + CHUNK] for start in range(0, len(envelopes), CHUNK)]
            return sum(_count(connection.execute(self._insert_all, _arrays(chunk))) for chunk in chunks)


def _count(stored: CursorResult[Any]) -> int:
    found: int = stored.scalar_one() if stored.returns_rows else stored.rowcount
    return found


def _row(envelope: Envelope) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "queue": envelope.queue,
        "tenant": envelope.tenant_id or "",
        "name": envelope.name,
        "priority": envelope.priority,
        "attempt": envelope.attempt,
        "enqueued_at": envelope.enqueued_at,
        "due": envelope.due_at,
        "data": envelope.encode().decode(),
    }


def _plain_row(envelope: Envelope, now: datetime | None) -> dict[str, Any]:
    """With a state that is a value, decided by the database's ``now``."""
    row = _row(envelope)
    due_at = row.pop("due")
    is_early = now is not None and due_at is not None and due_at > now
    return row | {"due_at": due_at, "state": SCHEDULED if is_early else READY}


def _insert_all(dialect: Dialect) -> Executable:
    rows = incoming(COLUMNS)
    insert = (
        dialect.insert_new(jobs)
        .from_select(
            [*COLUMNS, "state"],
            select(*rows.c, due_state(rows.c.due_at, dialect.now())).where(~is_any_closed(TENANTS)),
        )
        .execution_options(preserve_rowcount=True)
    )
    return calling(insert) if dialect.notifies else insert


def _arrays(envelopes: Sequence[Envelope]) -> dict[str, list[Any]]:
    rows = [_row(envelope) for envelope in envelopes]
    tenants = sorted({row["tenant"] for row in rows})
    return as_arrays([row | {"due_at": row["due"]} for row in rows], COLUMNS) | {TENANTS: tenants}

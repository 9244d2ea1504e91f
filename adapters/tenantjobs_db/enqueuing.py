"""Writing jobs into the queue: rows of envelopes, in one statement on whatever connection it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Insert, Integer, Text, select

from tenantjobs.envelope import Envelope
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


class Enqueuing:
    """Inserts envelopes; an id that is there already stays as it is. The owner of the connection commits."""

    def __init__(self, dialect: Dialect) -> None:
        self._insert = dialect.insert_new(jobs).values(state=due_state(due(), dialect.now()), due_at=due())
        self._insert_all = _insert_all(dialect) if dialect.set_based else None
        self._plain_insert = dialect.insert_new(jobs) if dialect.plain_bulk else None
        self._now = select(dialect.now())
        self._dialect = dialect

    def insert(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            self._dialect.check_length("the name of a job", envelope.name)
            self._dialect.check_length("the name of a queue", envelope.queue)
        if len(envelopes) == 1:
            connection.execute(self._insert, _row(envelopes[0]))
        elif self._plain_insert is not None:
            is_any_due = any(envelope.due_at is not None for envelope in envelopes)
            now = connection.execute(self._now).scalar_one() if is_any_due else None
            connection.execute(self._plain_insert, [_plain_row(envelope, now) for envelope in envelopes])
        elif self._insert_all is None:
            connection.execute(self._insert, [_row(envelope) for envelope in envelopes])
        else:
            for start in range(0, len(envelopes), CHUNK):
                connection.execute(self._insert_all, _arrays(envelopes[start : start + CHUNK]))


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


def _insert_all(dialect: Dialect) -> Insert:
    rows = incoming(COLUMNS)
    return dialect.insert_new(jobs).from_select(
        [*COLUMNS, "state"],
        select(*rows.c, due_state(rows.c.due_at, dialect.now())),
    )


def _arrays(envelopes: Sequence[Envelope]) -> dict[str, list[Any]]:
    rows = [_row(envelope) for envelope in envelopes]
    return as_arrays([row | {"due_at": row["due"]} for row in rows], COLUMNS)

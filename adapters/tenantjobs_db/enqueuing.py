"""Writing jobs into the queue: rows of envelopes, in one statement on whatever connection it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Integer, Text, select

from tenantjobs.envelope import Envelope
from tenantjobs_db.columns import Moment
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.inserting import CHUNK, Columns, as_arrays, incoming
from tenantjobs_db.tables import due, due_state, jobs

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

    def insert(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        if len(envelopes) == 1:
            connection.execute(self._insert, _row(envelopes[0]))
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


def _insert_all(dialect: Dialect) -> Insert:
    rows = incoming(COLUMNS)
    return dialect.insert_new(jobs).from_select(
        [*COLUMNS, "state"],
        select(*rows.c, due_state(rows.c.due_at, dialect.now())),
    )


def _arrays(envelopes: Sequence[Envelope]) -> dict[str, list[Any]]:
    rows = [_row(envelope) for envelope in envelopes]
    return as_arrays([row | {"due_at": row["due"]} for row in rows], COLUMNS)

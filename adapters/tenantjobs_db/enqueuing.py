"""Writing jobs into the queue: rows of envelopes, in one statement on whatever connection it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Connection, Insert, Integer, Text, bindparam, column, func, select
from sqlalchemy.types import TypeEngine

from tenantjobs.envelope import Envelope
from tenantjobs_db.columns import Moment
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.tables import due, due_state, jobs

CHUNK = 10_000  # rows of one statement; what an array of parameters may take in memory
COLUMNS: dict[str, TypeEngine[Any]] = {
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
    """Any number of jobs as one statement of one text: a column is an array."""
    incoming = (
        func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in COLUMNS.items()))
        .table_valued(*(column(name, kind) for name, kind in COLUMNS.items()))
        .render_derived("incoming")
    )
    return dialect.insert_new(jobs).from_select(
        [*COLUMNS, "state"],
        select(*incoming.c, due_state(incoming.c.due_at, dialect.now())),
    )


def _arrays(envelopes: Sequence[Envelope]) -> dict[str, list[Any]]:
    rows = [_row(envelope) for envelope in envelopes]
    return {name: [row["due" if name == "due_at" else name] for row in rows] for name in COLUMNS}

"""Many new jobs by COPY (PostgreSQL): the least that the server and this side can do for a row.

What is left out has to be looked at otherwise: a COPY fails where an id is there already, knows no clock for a job that
waits, asks for no tenant and calls nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine

from tenantjobs.envelope import Envelope
from tenantjobs_db.calling import Calling
from tenantjobs_db.closing import refuse_closed

LEAST = 300  # jobs: for fewer, one statement that commits by itself is faster than a transaction of five
BLOCK = 100  # rows that are on their way to the server while the next ones are written here

COPY = "COPY tj_jobs (id, queue, tenant, name, priority, attempt, state, enqueued_at, data) FROM STDIN"

_escapes = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def copies(engine: Engine) -> bool:
    """Whether the driver has COPY as we use it."""
    return engine.dialect.driver == "psycopg"


class NotCopied(Exception):
    """A COPY cannot store one of the jobs as it is to be."""


class Copying:
    """Inserts envelopes in a transaction that is rolled back after any error."""

    def __init__(self, calling: Calling) -> None:
        self._calling = calling

    def takes(self, envelopes: Sequence[Envelope]) -> bool:
        """Whether they are many."""
        return len(envelopes) >= LEAST

    def insert(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        """``NotCopied`` if one of them waits for a time.

        ``TenantClosed`` or ``TenantGone`` as ``Enqueuing`` raises it; what else is wrong, the driver says.
        """
        driver: Any = connection.connection.driver_connection
        rows = map(_Line(), envelopes)
        with driver.cursor() as cursor, cursor.copy(COPY) as copy:
            # The envelopes may be made only now: the server stores the rows before them in the meantime.
            for block in _blocks(rows):
                copy.write(block)
        # After the rows are there: whoever closes a tenant from now on waits for this transaction.
        refuse_closed(connection, {envelope.tenant_id or "" for envelope in envelopes})
        self._calling.call_for(connection, {envelope.queue for envelope in envelopes})


class _Line:
    """A job as a line of COPY; what many have in common is written once."""

    def __init__(self) -> None:
        self._written: dict[tuple[Any, ...], str] = {}
        self._moment: datetime | None = None
        self._moment_written = ""

    def __call__(self, envelope: Envelope) -> str:
        place = (envelope.queue, envelope.tenant_id or "", envelope.name, envelope.priority, envelope.attempt)
        middle = self._written.get(place)
        if middle is None:
            middle = self._written[place] = "\t".join(map(_field, (*place, "ready")))
        if envelope.due_at is not None:
            raise NotCopied
        if envelope.enqueued_at is not self._moment:
            self._moment = envelope.enqueued_at
            self._moment_written = self._moment.isoformat()
        data = envelope.encode().decode().replace("\\", r"\\")
        return f"{_field(envelope.id)}\t{middle}\t{self._moment_written}\t{data}\n"


def _field(value: object) -> str:
    if value is None:
        return r"\N"
    text = str(value)
    # Most are so, and to translate them takes several times as long.
    is_plain = text.isprintable() and "\\" not in text
    return text if is_plain else text.translate(_escapes)


def _blocks(rows: Iterable[str]) -> Iterator[str]:
    remaining = iter(rows)
    while block := "".join(islice(remaining, BLOCK)):
        yield block

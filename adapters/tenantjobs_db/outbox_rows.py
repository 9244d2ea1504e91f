"""The jobs in the outbox: each is somebody's to publish until its time is over, and then any relay's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Insert, Text, bindparam, delete, select, update

from tenantjobs.envelope import Envelope
from tenantjobs_db.closing import insert_unless_closed, is_closed, refuse_closed
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import Dialect, seconds
from tenantjobs_db.inserting import CHUNK, Columns, as_arrays, incoming
from tenantjobs_db.tables import outbox

BATCH = 500
COLUMNS: Columns = {"id": Text(), "tenant": Text(), "name": Text(), "data": Text()}


class Unpublished(msgspec.Struct, frozen=True):
    """A job that waits in the outbox."""

    id: str
    tenant: str
    name: str
    failures: int
    data: str

    def __str__(self) -> str:
        return f"job {self.name} id={self.id} tenant={self.tenant or None}"


class OutboxRows:
    """The table, with ``lease`` seconds for whoever has written or claimed a job to publish it."""

    def __init__(self, database: Database, *, lease: float) -> None:
        dialect = database.dialect
        self._database = database
        self._lease = lease
        stamps = {"written_at": dialect.now(), "relay_at": dialect.after(seconds("lease"))}
        self._insert = insert_unless_closed(dialect, outbox, [outbox.c[name] for name in COLUMNS], stamps)
        self._insert_all = _insert_all(dialect, stamps) if dialect.set_based else None
        self._plain_insert = dialect.insert_new(outbox) if dialect.plain_bulk else None
        self._stamps = select(*(stamp.label(name) for name, stamp in stamps.items()))
        self._dialect = dialect
        is_due = outbox.c.relay_at <= dialect.now()
        self._anything_due = select(outbox.c.id).where(is_due).limit(1)
        self._due = dialect.skip_locked(
            select(outbox.c.id, outbox.c.tenant, outbox.c.name, outbox.c.failures, outbox.c.data)
            .where(is_due)
            .order_by(outbox.c.relay_at, outbox.c.id)
            .limit(bindparam("batch")),
            outbox,
            "tj_outbox_relay",
        )
        listed = outbox.c.id.in_(bindparam("listed", expanding=True))
        self._hold = update(outbox).where(listed).values(relay_at=dialect.after(seconds("pause")))
        self._postpone = (
            update(outbox)
            .where(outbox.c.id == bindparam("job_id"))
            .values(relay_at=dialect.after(seconds("pause")), failures=outbox.c.failures + 1, error=bindparam("why"))
        )
        self._cancel = delete(outbox).where(outbox.c.id == bindparam("job_id"), is_due)
        self._remove = delete(outbox).where(listed)

    def write(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        """Write the jobs by one statement in the transaction of ``connection``; they are the writer's to publish.

        ``TenantClosed`` or ``TenantGone`` if one of them is of a tenant that is closed.
        """
        for envelope in envelopes:
            self._dialect.check_length("the name of a job", envelope.name)
        if self._written(connection, [_row(envelope) for envelope in envelopes]) < len(envelopes):
            refuse_closed(connection, [envelope.tenant_id or "" for envelope in envelopes])

    def _written(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """How many of them are known to be there for the first time."""
        if self._plain_insert is not None:
            stamps = dict(connection.execute(self._stamps, {"lease": self._lease}).mappings().one())
            connection.execute(self._plain_insert, [{**row, **stamps} for row in rows])
            return 0  # it has asked for no tenant
        elif self._insert_all is None:
            return connection.execute(self._insert, [{**row, "lease": self._lease} for row in rows]).rowcount
        else:
            arrays = [as_arrays(rows[start : start + CHUNK], COLUMNS) for start in range(0, len(rows), CHUNK)]
            wishes = [chunk | {"lease": self._lease} for chunk in arrays]
            return sum(connection.execute(self._insert_all, wish).rowcount for wish in wishes)

    def claim(self, batch: int = BATCH) -> list[Unpublished]:
        """Take jobs that nobody is publishing, for the time of the lease."""
        with self._database.autocommit() as connection:
            if connection.execute(self._anything_due).first() is None:
                return []
        with self._database.begin() as connection:
            claimed = [Unpublished(*row) for row in connection.execute(self._due, {"batch": batch})]
            if claimed:
                ids = [unpublished.id for unpublished in claimed]
                connection.execute(self._hold, {"listed": ids, "pause": self._lease})
        return claimed

    def remove(self, ids: Sequence[str]) -> None:
        """Forget jobs: they have been published."""
        for start in range(0, len(ids), BATCH):
            with self._database.autocommit() as connection:
                connection.execute(self._remove, {"listed": ids[start : start + BATCH]})

    def release(self, ids: Sequence[str]) -> None:
        """Leave jobs to whichever relay looks next."""
        for start in range(0, len(ids), BATCH):
            with self._database.autocommit() as connection:
                # A moment ago rather than now: the clock of a file is its machine's, which may step back a little.
                connection.execute(self._hold, {"listed": ids[start : start + BATCH], "pause": -1.0})

    def cancel(self, job_id: str) -> bool:
        """Forget a job that is nobody's; True if there was one."""
        with self._database.autocommit() as connection:
            return connection.execute(self._cancel, {"job_id": job_id}).rowcount == 1

    def postpone(self, unpublished: Unpublished, pause: float, why: str) -> None:
        """Note that a job could not be published, and let others go first for ``pause`` seconds."""
        with self._database.autocommit() as connection:
            connection.execute(self._postpone, {"job_id": unpublished.id, "pause": pause, "why": why})


def _row(envelope: Envelope) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "tenant": envelope.tenant_id or "",
        "name": envelope.name,
        "data": envelope.encode().decode(),
    }


def _insert_all(dialect: Dialect, stamps: Mapping[str, ColumnElement[Any]]) -> Insert:
    rows = incoming(COLUMNS)
    return (
        dialect.insert_new(outbox)
        .from_select([*COLUMNS, *stamps], select(*rows.c, *stamps.values()).where(~is_closed(rows.c.tenant)))
        .execution_options(preserve_rowcount=True)
    )

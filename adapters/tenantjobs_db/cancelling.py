"""Jobs that are cancelled while they run: noted in a table, and told to them by their workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, select, update

from tenantjobs_db.database import Database
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.queue import BATCH
from tenantjobs_db.tables import BLOCKED, CANCELLED, CLAIMED, DISCARDED, READY, SCHEDULED, cancellations, in_state, jobs

INTERVAL = 1.0  # seconds between two looks of a worker


class Cancelling:
    """The notes: made by whoever cancels, read by workers, and wiped out when the job is over."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        self._note = dialect.insert_new(cancellations).values(asked_at=dialect.now())
        self._noted = select(cancellations.c.job_id).where(
            cancellations.c.job_id.in_(bindparam("listed", expanding=True))
        )
        waits = in_state(READY, SCHEDULED, BLOCKED)
        self._waiting_again = dialect.skip_locked(
            select(jobs.c.id).where(waits, jobs.c.id.in_(select(cancellations.c.job_id))).limit(BATCH), jobs
        )
        self._take_back = (
            update(jobs)
            .where(jobs.c.id.in_(bindparam("listed", expanding=True)), waits)
            .values(state=DISCARDED, reason=CANCELLED, finished_at=dialect.now())
        )
        is_under_way = exists().where(jobs.c.id == cancellations.c.job_id, in_state(READY, SCHEDULED, BLOCKED, CLAIMED))
        self._forget = delete(cancellations).where(~is_under_way)

    def note(self, connection: Connection, rows: Sequence[Any]) -> None:
        """These jobs are to end; their workers will hear of it."""
        if rows:
            connection.execute(self._note, [{"job_id": row.id, "tenant": row.tenant} for row in rows])

    def noted(self, ids: Collection[str]) -> set[str]:
        """Those of the jobs that were cancelled."""
        if not ids:
            return set()
        with self._database.autocommit() as connection:
            return set(connection.execute(self._noted, {"listed": list(ids)}).scalars())

    def tell(self, deliveries: Callable[[], Sequence[Delivery]]) -> None:
        """Tell the jobs of a worker."""
        running = {delivery.claim.id: delivery for delivery in deliveries()}
        for job_id in self.noted(running):
            running[job_id].cancel()

    def take_back(self) -> list[str]:
        """Take back what was given back while it ran, and waits again; the ids of some."""

        def take_back(connection: Connection) -> list[str]:
            ids = list(connection.execute(self._waiting_again).scalars())
            if ids:
                connection.execute(self._take_back, {"listed": ids})
            return ids

        return self._database.run(take_back)

    def prune(self) -> None:
        """Forget what was said of jobs that are over."""
        with self._database.begin() as connection:
            connection.execute(self._forget)

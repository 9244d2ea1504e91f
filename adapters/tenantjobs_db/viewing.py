"""A job of the queue, for people to look at: what is known of it, and what it waits for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select

from tenantjobs.errors import ConfigurationError
from tenantjobs.progress import Progress
from tenantjobs.view import JobView, LastError
from tenantjobs_db import schema
from tenantjobs_db.database import Database
from tenantjobs_db.job_row import FailedAttempt, JobRow, read_job
from tenantjobs_db.tables import BLOCKED, CLAIMED, READY, SCHEDULED, blocked, permits, processes, progress

MOST_HOLDERS = 3  # that are named


class Viewing:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        now = database.dialect.now()
        self._database = database
        self._progress = select(progress.c.done, progress.c.total).where(progress.c.job_id == bindparam("job_id"))
        self._worker = select(processes.c.host, processes.c.pid).where(processes.c.id == bindparam("process"))
        self._workers = select(func.count()).select_from(processes).where(processes.c.expires_at >= now)
        self._blocked = select(blocked.c.key, blocked.c.permits, blocked.c.priority).where(
            blocked.c.job_id == bindparam("job_id")
        )
        self._holders = (
            select(permits.c.owner)
            .where(permits.c.key == bindparam("of_key"), permits.c.expires_at >= now)
            .order_by(permits.c.number)
        )
        before = or_(
            blocked.c.priority < bindparam("of_priority"),
            (blocked.c.priority == bindparam("of_priority")) & (blocked.c.job_id < bindparam("of_job")),
        )
        self._before = select(func.count()).where(blocked.c.key == bindparam("of_key"), before)

    def view(self, job_id: str) -> JobView | None:
        """The job of this id; None if there is none, or none any more."""
        with self._database.autocommit() as connection:  # a look keeps nobody from writing
            problem = schema.status(connection).problem
            if problem is not None:
                raise ConfigurationError(problem)
            row = read_job(connection, job_id)
            return None if row is None else self._view(connection, row)

    def _view(self, connection: Connection, row: JobRow) -> JobView:
        told = connection.execute(self._progress, {"job_id": row.id}).first()
        return JobView(
            id=row.id,
            name=row.name,
            state=row.state,
            queue=row.queue,
            priority=row.priority,
            tenant_id=row.tenant or None,
            attempts=row.attempt,
            enqueued_at=row.enqueued_at,
            due_at=row.due_at,
            claimed_at=row.claimed_at if row.state == CLAIMED else None,
            finished_at=row.finished_at,
            worker=self._in_worker(connection, row),
            waits_for=self._waits_for(connection, row),
            reason=row.reason,
            progress=None if told is None else Progress(told.done, told.total),
            last_error=_error(row.failures[-1]) if row.failures else None,
        )

    def _in_worker(self, connection: Connection, row: JobRow) -> str | None:
        if row.state != CLAIMED:
            return None
        found = connection.execute(self._worker, {"process": row.claimed_by}).first()
        if found is None:
            return f"process {row.claimed_by}, which is dead: others take the job over"
        return f"process {found.pid} on {found.host}"

    def _waits_for(self, connection: Connection, row: JobRow) -> str | None:
        if row.state == SCHEDULED:
            return "its time"
        elif row.state == READY:
            workers = connection.execute(self._workers).scalar_one()
            return f"its turn in the queue {row.queue}" if workers else "a worker: none is running"
        elif row.state == BLOCKED:
            found = connection.execute(self._blocked, {"job_id": row.id}).first()
            return "a permit" if found is None else self._waits_for_permit(connection, row, found)
        else:
            return None

    def _waits_for_permit(self, connection: Connection, row: JobRow, found: Any) -> str:
        holders = connection.execute(self._holders, {"of_key": found.key}).scalars().all()
        wish = {"of_key": found.key, "of_priority": found.priority, "of_job": row.id}
        before = connection.execute(self._before, wish).scalar_one()
        named = ", ".join(holders[:MOST_HOLDERS]) + (", ..." if len(holders) > MOST_HOLDERS else "")
        held = f"{len(holders)} of {found.permits} taken" + (f" by {named}" if holders else "")
        return f"a permit of the limit {found.key}: {held}, {before or 'none'} before it"


def _error(failure: FailedAttempt) -> LastError:
    return LastError(failure.attempt, failure.failed_at, failure.error_class, failure.message, failure.traceback)

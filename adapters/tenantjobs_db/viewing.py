"""A job of the queue, for people to look at: what is known of it, and what it waits for."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from tenantjobs.errors import ConfigurationError
from tenantjobs.progress import Progress
from tenantjobs.view import JobView, LastError
from tenantjobs_db import schema
from tenantjobs_db.admitting import BROKER
from tenantjobs_db.database import Database
from tenantjobs_db.explaining import Explaining
from tenantjobs_db.job_row import FailedAttempt, JobRow, read_job
from tenantjobs_db.tables import CLAIMED, processes, progress


class Viewing:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._progress = select(progress.c.done, progress.c.total).where(progress.c.job_id == bindparam("job_id"))
        self._worker = select(processes.c.kind, processes.c.host, processes.c.pid).where(
            processes.c.id == bindparam("process")
        )
        self._explaining = Explaining(database)

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
            waits_for="; ".join(reason.text for reason in self._explaining.reasons(connection, row)) or None,
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
        if found.kind == BROKER:
            return None  # it waits there for one
        return f"process {found.pid} on {found.host}"


def _error(failure: FailedAttempt) -> LastError:
    return LastError(failure.attempt, failure.failed_at, failure.error_class, failure.message, failure.traceback)

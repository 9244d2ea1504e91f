"""Jobs of the queue, for people to look at: what is known of them, and what one waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import BindParameter, Connection, bindparam, func, select

from tenantjobs.progress import Progress
from tenantjobs.view import FailedAttempt, JobFilter, JobView, KeptResult
from tenantjobs_db.admitting import BROKER
from tenantjobs_db.choosing import chosen
from tenantjobs_db.database import Database
from tenantjobs_db.explaining import Explaining
from tenantjobs_db.job_row import read_job
from tenantjobs_db.states import said
from tenantjobs_db.tables import CLAIMED, failures, jobs, processes, progress, results


class Viewing:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        self._progress = select(progress).where(progress.c.job_id.in_(_listed()))
        self._workers = select(processes).where(processes.c.id.in_(_listed()))
        self._result = (
            select(jobs.c.id, jobs.c.name, jobs.c.tenant, jobs.c.state, jobs.c.reason, results.c.result)
            .outerjoin(results, results.c.job_id == jobs.c.id)
            .where(jobs.c.id == bindparam("of_job"))
        )
        latest = select(func.max(failures.c.id)).where(failures.c.job_id.in_(_listed())).group_by(failures.c.job_id)
        self._errors = select(failures).where(failures.c.id.in_(latest))
        self._explaining = Explaining(database)

    def view(self, connection: Connection, job_id: str) -> JobView | None:
        """The job of this id, with what it waits for; None if there is none, or none any more."""
        row = read_job(connection, job_id)
        if row is None:
            return None
        (view,) = self._views(connection, [row])
        reasons = "; ".join(reason.text for reason in self._explaining.reasons(connection, row))
        return msgspec.structs.replace(view, waits_for=reasons or None, history=tuple(map(_failed, row.failures)))

    def result(self, connection: Connection, job_id: str) -> KeptResult | None:
        """What the job has returned, as it is kept."""
        row = connection.execute(self._result, {"of_job": job_id}).first()
        if row is None:
            return None
        return KeptResult(
            id=row.id,
            name=row.name,
            tenant_id=row.tenant or None,
            state=said(row.state),
            reason=row.reason,
            text=row.result,
        )

    def page(
        self, connection: Connection, which: JobFilter, *, after: str | None, limit: int, newest_first: bool
    ) -> list[JobView]:
        """The next jobs behind the id ``after``, by their ids."""
        statement = select(*(column for column in jobs.c if column.name != "data")).where(chosen(which)).limit(limit)
        if after is not None:
            statement = statement.where(jobs.c.id < after if newest_first else jobs.c.id > after)
        order = jobs.c.id.desc() if newest_first else jobs.c.id
        return self._views(connection, connection.execute(statement.order_by(order)).all())

    def _views(self, connection: Connection, rows: Sequence[Any]) -> list[JobView]:
        if not rows:
            return []
        listed = {"listed": [row.id for row in rows]}
        told = {row.job_id: Progress(row.done, row.total) for row in connection.execute(self._progress, listed)}
        errors = {row.job_id: _failed(row) for row in connection.execute(self._errors, listed)}
        claimed_by = [row.claimed_by for row in rows if row.state == CLAIMED]
        workers = connection.execute(self._workers, {"listed": claimed_by}).all() if claimed_by else []
        places = {row.id: None if row.kind == BROKER else f"process {row.pid} on {row.host}" for row in workers}
        return [
            JobView(
                id=row.id,
                name=row.name,
                state=said(row.state),
                queue=row.queue,
                priority=row.priority,
                tenant_id=row.tenant or None,
                attempts=row.attempt,
                enqueued_at=row.enqueued_at,
                due_at=row.due_at,
                claimed_at=row.claimed_at if row.state == CLAIMED else None,
                finished_at=row.finished_at,
                worker=_place(row, places),
                waits_for=None,
                reason=row.reason,
                progress=told.get(row.id),
                last_error=errors.get(row.id),
            )
            for row in rows
        ]


def _listed() -> BindParameter[Any]:
    return bindparam("listed", expanding=True)


def _place(row: Any, places: Mapping[str, str | None]) -> str | None:
    """In which worker a job runs; None also for one that waits at a broker for one."""
    if row.state != CLAIMED:
        return None
    return places.get(row.claimed_by, f"process {row.claimed_by}, which is dead: others take the job over")


def _failed(row: Any) -> FailedAttempt:
    return FailedAttempt(row.attempt, row.failed_at, row.error_class, row.message, row.traceback, row.retried)

"""A job as it stands in the database, for people and tests to look at."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, select

from tenantjobs_db.tables import failures, jobs


class FailedAttempt(msgspec.Struct, frozen=True):
    """One execution that raised, or one process that died too often."""

    attempt: int
    failed_at: datetime
    error_class: str
    message: str
    traceback: str
    retried: bool


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job: its place in the queue, its state, and the attempts that failed, oldest first."""

    id: str
    name: str
    queue: str
    tenant: str
    priority: int
    state: str
    attempt: int
    deaths: int
    fence: int
    claimed_by: str | None
    claimed_at: datetime | None
    enqueued_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    data: str
    failures: tuple[FailedAttempt, ...]


_job = select(jobs).where(jobs.c.id == bindparam("job_id"))
_attempts = (
    select(*(failures.c[field] for field in FailedAttempt.__struct_fields__))
    .where(failures.c.job_id == bindparam("job_id"))
    .order_by(failures.c.id)
)


def read_job(connection: Connection, job_id: str) -> JobRow | None:
    row = connection.execute(_job, {"job_id": job_id}).mappings().first()
    if row is None:
        return None
    attempts = connection.execute(_attempts, {"job_id": job_id})
    return JobRow(**row, failures=tuple(FailedAttempt(*attempt) for attempt in attempts))

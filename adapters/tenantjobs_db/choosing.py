"""Which rows a filter of jobs means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true

from tenantjobs import definition
from tenantjobs.membership import JOB
from tenantjobs.view import JobFilter
from tenantjobs_db.states import stored_as
from tenantjobs_db.tables import batch_jobs, failures, in_state, jobs, processes

LONGEST_PID = 10  # digits, which an integer of any database has room for


def chosen(which: JobFilter) -> ColumnElement[bool]:
    """The condition on a row of ``tj_jobs``."""
    said = {name: getattr(which, name) for name in CONDITIONS}
    # No states are any; no ids are none.
    meant = {name: value for name, value in said.items() if value is not None and (value != () or name == "ids")}
    return and_(true(), *(CONDITIONS[name](value) for name, value in meant.items()))


def _named(name: str) -> ColumnElement[bool]:
    """A job by any of the names that it is known by: its rows have that under which it was enqueued."""
    job = definition.lookup(name)
    return jobs.c.name.in_([name] if job is None else sorted({name, job.name, *job.aliases}))


def _raised(error: str) -> ColumnElement[bool]:
    """The last attempt that failed has raised it: the whole name of the class, or what is behind its last dots."""
    latest = select(func.max(failures.c.id)).where(failures.c.job_id == jobs.c.id).correlate(jobs).scalar_subquery()
    behind = func.char_length(failures.c.error_class) - len(error)
    ends = func.substr(failures.c.error_class, behind) == f".{error}"
    return exists().where(failures.c.id == latest, or_(failures.c.error_class == error, ends)).correlate(jobs)


def _in_worker(worker: str) -> ColumnElement[bool]:
    ours = jobs.c.claimed_by == worker
    if not (worker.isascii() and worker.isdigit() and len(worker) < LONGEST_PID):
        return ours
    return or_(ours, jobs.c.claimed_by.in_(select(processes.c.id).where(processes.c.pid == int(worker))))


def _of_batch(batch: str) -> ColumnElement[bool]:
    return jobs.c.id.in_(select(batch_jobs.c.job).where(batch_jobs.c.batch == batch, batch_jobs.c.kind == JOB))


CONDITIONS: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "ids": jobs.c.id.in_,
    "states": lambda states: in_state(*map(stored_as, states)),
    "tenant": lambda tenant: jobs.c.tenant == tenant,
    "queue": lambda queue: jobs.c.queue == queue,
    "job": _named,
    "enqueued_after": lambda moment: jobs.c.enqueued_at >= moment,
    "enqueued_before": lambda moment: jobs.c.enqueued_at < moment,
    "finished_after": lambda moment: jobs.c.finished_at >= moment,
    "finished_before": lambda moment: jobs.c.finished_at < moment,
    "error": _raised,
    "worker": _in_worker,
    "batch": _of_batch,
}

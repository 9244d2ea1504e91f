"""Lines of the log about jobs: a text for people, and the same facts as attributes of the record. Never arguments."""

from __future__ import annotations

import logging

from tenantjobs.current import Current
from tenantjobs.running import JobContext, current_job


class ContextFilter(logging.Filter):
    """Puts ``tenant``, ``job``, ``job_id``, ``queue`` and ``attempt`` on every record of a handler that it is added to.

    They are those of the job that logs, and None outside of one; ``tenant`` is that of Current, also in native tasks.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        job = current_job()
        found = _OUTSIDE if job is None else fields(job)
        for name, value in {**found, "tenant": Current.tenant_id}.items():
            record.__dict__.setdefault(name, value)  # what we say of a job ourselves is there already
        return True


def line(
    logger: logging.Logger,
    level: int,
    outcome: str,
    job: JobContext,
    detail: object = None,
    *,
    error: BaseException | None = None,
    **measured: float,
) -> None:
    """One line: what came of ``job``, and why."""
    if not logger.isEnabledFor(level):
        return
    given = (_named(job),) if detail is None else (_named(job), detail)
    extra = {**fields(job), "outcome": outcome, **measured}
    if error is not None:
        extra["error"] = type(error).__qualname__
    # The outcome is in the template, by which error trackers put lines together.
    logger.log(level, f"{outcome} %s{': %s' * (detail is not None)}", *given, extra=extra, stacklevel=2)


def fields(job: JobContext) -> dict[str, object]:
    """What a record says of a job."""
    return {
        "job": job.name,
        "job_id": job.id,
        "queue": job.queue,
        "attempt": job.attempt,
        "tenant": job.tenant_id,
    }


def _named(job: JobContext) -> str:
    attempt = f" attempt={job.attempt}" if job.attempt else ""
    return f"{job.name} id={job.id} queue={job.queue} tenant={job.tenant_id}{attempt}"


_OUTSIDE: dict[str, object] = {"job": None, "job_id": None, "queue": None, "attempt": None}

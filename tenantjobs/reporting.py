"""Errors, told to whoever collects them: ``configure(error_reporters=[...])``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from tenantjobs import runtime
from tenantjobs.current import Current
from tenantjobs.running import current_job

logger = logging.getLogger("tenantjobs.reporting")

_MARK = "__tenantjobs_reported__"


class ErrorReporter(Protocol):
    """Takes an error to Sentry or the like. What it raises is logged, and keeps no other from its turn."""

    def __call__(self, error: BaseException, *, handled: bool, context: Mapping[str, Any]) -> object: ...


def report(error: BaseException, *, handled: bool = True, context: Mapping[str, Any] | None = None) -> None:
    """Tell the error reporters of ``error``, once for each error object; without any, it is logged.

    ``handled`` says that the work goes on in spite of it. To ``context`` come the tenant's id and, in a job, its
    name, id, attempt and queue. Never raises.
    """
    if not runtime.settings().error_reporters:
        logger.log(logging.WARNING if handled else logging.ERROR, "reported: %r", error, exc_info=error)
    tell(error, handled=handled, context=context or {})


def tell(error: BaseException, *, handled: bool, context: Mapping[str, Any] = {}) -> None:
    """The same, for an error that has been logged already."""
    reporters = runtime.settings().error_reporters
    if not reporters or getattr(error, _MARK, False):
        return
    with suppress(AttributeError):  # an error with slots is told each time
        setattr(error, _MARK, True)
    told = {**_surroundings(), **context}
    for reporter in reporters:
        try:
            reporter(error, handled=handled, context=told)
        except Exception:
            logger.exception("an error reporter failed for %r", error)


def _surroundings() -> dict[str, Any]:
    job = current_job()
    found: dict[str, Any] = {"tenant_id": Current.tenant_id}
    if job is not None:
        found |= {"job": job.name, "job_id": job.id, "attempt": job.attempt, "queue": job.queue}
    return found

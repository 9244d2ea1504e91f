"""The job that is being performed here, as its own code sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

import msgspec


class JobContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a running job may know of itself. ``attempt`` counts from 1."""

    id: str
    name: str
    attempt: int
    queue: str
    priority: int
    enqueued_at: datetime
    due_at: datetime | None
    tenant_id: str | None


_running: ContextVar[JobContext | None] = ContextVar("tenantjobs_job", default=None)


def current_job() -> JobContext | None:
    """The job that this code is performed by; None outside of one, and under ``perform_now``."""
    return _running.get()


@contextmanager
def running(context: JobContext | None) -> Iterator[None]:
    """Make ``context`` the current job."""
    token = _running.set(context)
    try:
        yield
    finally:
        _running.reset(token)

"""The job that is being performed here, as its own code sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import NoReturn

import msgspec

from tenantjobs import links
from tenantjobs.envelope import Envelope
from tenantjobs.errors import Cancelled, ConfigurationError, Interruption
from tenantjobs.options import Options, options
from tenantjobs.progress import TellsProgress, checked


class RetryAsked(Interruption):
    """The job asked for another attempt: this one ends here. Not to be caught on the way."""

    def __init__(self, chosen: Options) -> None:
        super().__init__("the job asked for another attempt")
        self.options = chosen


class JobContext(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """What a running job may know of itself. ``attempt`` counts from 1.

    ``batch_id`` is that of the batch which the job is part of, or which it was called back by.
    """

    id: str
    name: str
    attempt: int
    queue: str
    priority: int
    enqueued_at: datetime
    due_at: datetime | None
    tenant_id: str | None
    resumptions: int = 0
    batch_id: str | None = None

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell how far the job has come, for ``handle.progress()``. It waits for nothing, and only the last one counts.

        Where the queue keeps none, it is told to nobody.
        """
        told = checked(done, total)
        self._require_here("tells its progress")
        delivery = _delivery.get()
        if isinstance(delivery, TellsProgress):
            delivery.tell(told)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the job while it runs: what it does from now on is not wanted any more.

        It is known within a second or two. Nobody stops a job that is not async and has no steps: it looks here, and
        returns, or calls ``heed_cancel()``.
        """
        return current_job() is self and is_cancelled(_delivery.get())

    def heed_cancel(self) -> None:
        """End the job here if it was cancelled: what it has done since its last commit is rolled back."""
        self._require_here("asks whether it was cancelled")
        if self.cancelled:
            raise Cancelled(f"job {self.name} id={self.id} was cancelled while it ran")

    def retry(
        self,
        *,
        wait: float | timedelta | None = None,
        wait_until: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> NoReturn:
        """End this attempt here, roll its session back, and perform the job again: at once, or when it is said.

        It counts as an attempt, and against the ``attempts`` of no declaration. In a handler it is what becomes of the
        job; what the handler has written is committed.
        """
        chosen = options(wait=wait, wait_until=wait_until, queue=queue, priority=priority)
        self._require_here("asks for another attempt")
        raise RetryAsked(chosen)

    def _require_here(self, what: str) -> None:
        if current_job() is not self:
            raise ConfigurationError(
                f"job {self.name} id={self.id} {what} where it is not performed: only a job that a worker performs "
                f"does so, from its own code and its handlers"
            )


def context_of(envelope: Envelope, attempt: int, resumptions: int = 0) -> JobContext:
    """The job of an envelope, as it knows itself."""
    return JobContext(
        id=envelope.id,
        name=envelope.name,
        attempt=attempt,
        queue=envelope.queue,
        priority=envelope.priority,
        enqueued_at=envelope.enqueued_at,
        due_at=envelope.due_at,
        tenant_id=envelope.tenant_id,
        resumptions=resumptions,
        batch_id=links.batch_id(envelope.keys),
    )


_running: ContextVar[JobContext | None] = ContextVar("tenantjobs_job", default=None)
_delivery: ContextVar[object] = ContextVar("tenantjobs_delivery", default=None)
_going_on: ContextVar[bool] = ContextVar("tenantjobs_going_on", default=False)


def current_job() -> JobContext | None:
    """The job that this code is performed by; None outside of one, and under ``perform_now``."""
    return _running.get()


class running:  # a block, as of contextlib, at a fraction of its price: each job enters it
    """A block in which ``context`` is the current job, which came by ``delivery``."""

    __slots__ = ("_came_by", "_context", "_delivery", "_token")

    def __init__(self, context: JobContext | None, delivery: object = None) -> None:
        self._context = context
        self._delivery = delivery

    def __enter__(self) -> None:
        self._token = _running.set(self._context)
        self._came_by = _delivery.set(self._delivery)

    def __exit__(self, *_error: object) -> None:
        _delivery.reset(self._came_by)
        _running.reset(self._token)


@contextmanager
def going_on() -> Iterator[None]:
    """What is enqueued inside belongs to work that was taken on before: the next of a chain, a callback, an outbox."""
    token = _going_on.set(True)
    try:
        yield
    finally:
        _going_on.reset(token)


def is_going_on() -> bool:
    """False for what comes from outside: it is enqueued by no job, and follows none."""
    return _going_on.get() or _running.get() is not None


def is_cancelled(delivery: object) -> bool:
    """Whether the queue that has delivered a job knows that it was cancelled meanwhile."""
    asked = getattr(delivery, "cancelled", None)  # of one that knows; asked often
    return asked is not None and asked()

"""Jobs that were sealed before, and whose turn has come: callbacks of batches, links of chains."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tenantjobs import definition, instrumentation, limits, links, locks, logs, uniqueness
from tenantjobs.adapter import Adapter
from tenantjobs.envelope import Envelope
from tenantjobs.errors import DuplicateJob
from tenantjobs.gathering import Gathering
from tenantjobs.instrumentation import Enqueued, EnqueueDropped, EnqueueRefused
from tenantjobs.locks import Wish
from tenantjobs.permits import Reservation
from tenantjobs.running import JobContext, context_of, going_on

logger = logging.getLogger("tenantjobs.enqueuing")


class Sealed:
    """A job on its way to the queue, as ``Message`` is one, of which nothing is left but its envelope."""

    batch: Gathering | None = None  # its rows are there already
    called_back_by: Gathering | None = None
    cancelled = False

    def __init__(self, envelope: Envelope) -> None:
        self.error: Exception | None = None
        self._envelope = envelope
        self._locked_apart = False

    @property
    def name(self) -> str:
        return self._envelope.name

    @property
    def job_id(self) -> str:
        return self._envelope.id

    @property
    def members(self) -> list[str]:
        return [self._envelope.id, *links.ids(self._envelope.chain)]

    @property
    def tenant_id(self) -> str | None:
        return self._envelope.tenant_id

    @property
    def wish(self) -> Wish | None:
        job = definition.lookup(self.name)
        if job is None or job.unique is None or "unique" not in self._envelope.keys:
            return None
        lock = uniqueness.waiting_lock(self._envelope, job.unique.ttl)
        return Wish(uniqueness.locks_for(f"job {self.name} is @unique"), lock, job.unique.on_conflict)

    @property
    def reservation(self) -> Reservation | None:
        job = definition.lookup(self.name)
        if job is None or job.limit is None or limits.KEY not in self._envelope.keys:
            return None
        request = limits.reservation(job.limit, self._envelope)
        return None if request is None else Reservation(limits.permits_for(f"job {self.name} is limited"), request)

    def seal(self) -> Envelope:
        return self._envelope

    def sent(self) -> None:
        logs.line(logger, logging.INFO, "enqueued", self._job)
        if instrumentation.listeners:
            instrumentation.emit(Enqueued(job=self._job))

    def locked(self, *, apart: bool) -> None:
        self._locked_apart = apart

    def dropped(self, reason: str) -> None:
        if self._locked_apart:
            locks.withdraw([self])
        logs.line(logger, logging.DEBUG, "dropped", self._job, reason)
        if instrumentation.listeners:
            instrumentation.emit(EnqueueDropped(job=self._job, reason=reason))

    def refused(self, error: Exception) -> None:
        self.error = error
        level = logging.INFO if isinstance(error, DuplicateJob) else logging.ERROR
        logs.line(logger, level, "refused", self._job, repr(error), error=error)
        if instrumentation.listeners:
            instrumentation.emit(EnqueueRefused(job=self._job, error=error))

    def failed(self, error: Exception) -> None:
        self.refused(error)

    @property
    def _job(self) -> JobContext:
        return context_of(self._envelope, attempt=0)


def hand_over(jobs: Sequence[Sealed], target: Adapter, connection: object | None = None) -> list[Sealed]:
    """Enqueue them, in the transaction of ``connection`` where there is one; those that the queue has then.

    What keeps all of them from the queue is raised. A job that is not the only one of its key has been told.
    """
    with going_on(), locks.in_one_transaction(jobs, target, connection) as on:
        admitted = locks.admit(jobs, target, on)
        errors = locks.enqueue_admitted(admitted, target, on)
    for job in admitted:
        if job.job_id in errors:
            job.failed(errors[job.job_id])
    return [job for job in admitted if job.error is None]

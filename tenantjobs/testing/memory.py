"""The adapter for unit tests: jobs wait in a list of this process, as the bytes that any queue would store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from tenantjobs import adapter, clock, definition, encryption
from tenantjobs.adapter import Capabilities
from tenantjobs.arguments import thaw
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ArgumentError, ConfigurationError, Undecipherable
from tenantjobs.execution import execute
from tenantjobs.idempotency import Ledger
from tenantjobs.locks import Locks
from tenantjobs.membership import Batches
from tenantjobs.outcome import Failed, Finished, Quarantined, Retried
from tenantjobs.permits import Permits
from tenantjobs.progress import Progress
from tenantjobs.rates import Rates
from tenantjobs.testing.batches import MemoryBatches
from tenantjobs.testing.choice import Choice, Jobs
from tenantjobs.testing.ledger import MemoryLedger
from tenantjobs.testing.locks import MemoryLocks
from tenantjobs.testing.permits import MemoryPermits
from tenantjobs.testing.rates import MemoryRates
from tenantjobs.view import KeptResult


class EnqueuedJob(msgspec.Struct, frozen=True):
    """A job that waits. ``args`` and ``kwargs`` are as they travel: a record is its ``GlobalId``."""

    id: str
    name: str
    queue: str
    priority: int
    tenant_id: str | None
    due_at: datetime | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class PerformedJob(msgspec.Struct, frozen=True):
    """One attempt that was made, and how it ended."""

    job: EnqueuedJob
    outcome: str  # finished, retried, discarded, failed or quarantined


class FailedJob(msgspec.Struct, frozen=True):
    """A job that was performed and raised what nobody had declared, or that could not be run at all."""

    job: EnqueuedJob
    error: BaseException


class MemoryAdapter:
    """Keeps jobs until ``testing.drain()`` performs them; entry point ``test``."""

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """The section ``[test]`` has no settings."""

    capabilities = Capabilities(
        delay=True, priority=True, queues=True, bulk=True, cancel=True, transactional=True, results=True
    )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self.performed: list[PerformedJob] = []
        self.failed: list[FailedJob] = []
        self.ledger: Ledger = MemoryLedger()
        self.locks: Locks = MemoryLocks()
        self.batches: Batches = MemoryBatches()
        self.permits: Permits = MemoryPermits()
        self.rates: Rates = MemoryRates()
        self.stops: Callable[[], bool] = lambda: False
        self._progress: dict[str, Progress] = {}
        self._results: dict[str, KeptResult] = {}

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        with self._lock:
            self._waiting.extend(envelope.encode() for envelope in envelopes)

    def cancel(self, job_id: str) -> bool:
        with self._lock:
            kept = [data for data in self._waiting if Envelope.decode(data).id != job_id]
            found = len(kept) < len(self._waiting)
            self._waiting = kept
        return found

    def drain(self) -> int:
        """Perform what is due, however it ends; the number of attempts. What failed is in ``failed``."""
        performed = 0
        while (data := self._take_due(clock.now())) is not None:
            self._perform(data)
            performed += 1
        return performed

    def perform(self, choice: Choice, at: datetime) -> int:
        """The same for what waits now, is due by ``at`` and was asked for; what these jobs enqueue goes on waiting."""
        chosen = {job.id for job in self.waiting() if choice.has(job)}
        performed = 0
        while (data := self._take_due(at, chosen)) is not None:
            chosen.remove(Envelope.decode(data).id)
            self._perform(data)
            performed += 1
        return performed

    def waiting(self) -> list[EnqueuedJob]:
        with self._lock:
            return [_view(Envelope.decode(data)) for data in self._waiting]

    def progress(self, job_id: str) -> Progress | None:
        return self._progress.get(job_id)

    def result(self, job_id: str) -> KeptResult | None:
        waiting = next((job for job in self.waiting() if job.id == job_id), None)
        return self._results.get(job_id) if waiting is None else _kept(waiting, "ready")

    def close(self) -> None:
        with self._lock:
            self._waiting.clear()

    def _perform(self, data: bytes) -> None:
        try:
            outcome = execute(data, _Delivery(self, Envelope.decode(data).id, self._progress))
        except BaseException:
            # Interrupted: rolled back, and the job waits again.
            with self._lock:
                self._waiting.insert(0, data)
            raise
        job = _view(Envelope.decode(data))
        state = type(outcome).__name__.lower()
        self.performed.append(PerformedJob(job, state))
        self._results[job.id] = _kept(job, state, outcome.result if isinstance(outcome, Finished) else None)
        if isinstance(outcome, Retried):
            self.enqueue(outcome.again())
        elif isinstance(outcome, Failed | Quarantined):
            self.failed.append(FailedJob(job, outcome.error))

    def _take_due(self, at: datetime, chosen: Collection[str] | None = None) -> bytes | None:
        with self._lock:
            due = [
                (envelope.priority, position)
                for position, envelope in enumerate(map(Envelope.decode, self._waiting))
                if (envelope.due_at is None or envelope.due_at <= at) and (chosen is None or envelope.id in chosen)
            ]
            return self._waiting.pop(min(due)[1]) if due else None


class _Delivery:
    """One attempt, as a worker would know it."""

    def __init__(self, queue: MemoryAdapter, job_id: str, progress: dict[str, Progress]) -> None:
        self._queue = queue
        self._job_id = job_id
        self._progress = progress

    def verify(self, envelope: Envelope) -> None:
        """It is the one that was taken."""

    def lost(self) -> bool:
        return False

    def stopping(self) -> bool:
        return self._queue.stops()

    def tell(self, progress: Progress) -> None:
        self._progress[self._job_id] = progress

    def __str__(self) -> str:
        return f"job id={self._job_id}"


@contextmanager
def stopping() -> Iterator[None]:
    """A block in which the worker of the adapter ``test`` wants to stop: each job with steps is interrupted at its next
    checkpoint, and waits to be resumed.
    """
    with stopping_where(lambda: True):
        yield


@contextmanager
def stopping_where(stops: Callable[[], bool]) -> Iterator[None]:
    """A block in which it wants to stop at those checkpoints of which ``stops`` says so."""
    memory = _memory()
    before, memory.stops = memory.stops, stops
    try:
        yield
    finally:
        memory.stops = before


def enqueued_jobs() -> list[EnqueuedJob]:
    """What waits in the adapter ``test``, in the order of enqueuing."""
    return _memory().waiting()


def performed_jobs() -> list[PerformedJob]:
    """The attempts that were made in the adapter ``test``, in their order."""
    return list(_memory().performed)


def perform_enqueued_jobs(
    *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None, at: datetime | None = None
) -> int:
    """Perform what waits in the adapter ``test`` and is due, through the real dump and load; the number of attempts.

    One pass: what these jobs enqueue goes on waiting, retries too (``drain()`` goes on until nothing is due). ``at``
    is the moment by which they are due, if it is not now. However a job ends, the others have their turn: see
    ``failed_jobs()``.
    """
    choice = Choice.of(only, except_, queue)
    return _memory().perform(choice, clock.now() if at is None else moment(at))


def failed_jobs() -> list[FailedJob]:
    """What has failed in the adapter ``test``, in the order of performing."""
    return list(_memory().failed)


def moment(at: datetime) -> datetime:
    """``at`` in UTC; ``ConfigurationError`` if it has no time zone."""
    if at.tzinfo is None:
        raise ConfigurationError(f"at={at!r} has no time zone: give it one, as in datetime(..., tzinfo=UTC)")
    return at.astimezone(UTC)


def _memory() -> MemoryAdapter:
    configured = adapter.configured()
    if not isinstance(configured, MemoryAdapter):
        raise ConfigurationError(
            f"this looks into the adapter 'test', and {type(configured).__name__} is configured: "
            f"wrap the test in testing.override(adapter='test')"
        )
    return configured


def _kept(job: EnqueuedJob, state: str, text: str | None = None) -> KeptResult:
    return KeptResult(id=job.id, name=job.name, tenant_id=job.tenant_id, state=state, text=text)


def _view(envelope: Envelope) -> EnqueuedJob:
    job = definition.lookup(envelope.name)
    try:
        thawed = thaw(encryption.clear(envelope), job.types if job is not None else {})
        args, kwargs = thawed.fill({reference: reference for reference in thawed.references})
    except (ArgumentError, Undecipherable):
        args, kwargs = (), {}
    return EnqueuedJob(
        id=envelope.id,
        name=envelope.name,
        queue=envelope.queue,
        priority=envelope.priority,
        tenant_id=envelope.tenant_id,
        due_at=envelope.due_at,
        args=args,
        kwargs=kwargs,
    )

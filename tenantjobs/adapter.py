"""The contract of a queue: one duty, declared capabilities, and optional duties as protocols of their own.

The other half of the contract is one sentence: your native worker calls ``tenantjobs.perform(data)`` with
exactly what was enqueued (``envelope.encode()``).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import msgspec

from tenantjobs import config, runtime
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError, PartlyEnqueued, UnsupportedCapability

if TYPE_CHECKING:
    from tenantjobs.idempotency import Ledger
    from tenantjobs.locks import Locks
    from tenantjobs.permits import Permits
    from tenantjobs.rates import Rates

# Sections of what may be kept beside a queue elsewhere. A database comes first: what is in it can commit with the work.
BESIDE = ("db", "redis")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue can do. What it has not declared is refused at the call, never silently ignored.

    ``bulk``: ``enqueue_all`` takes many jobs in one piece; without it they are handed over one by one.
    ``transactional``: a job can be finished by its own commit, or is never delivered a second time. Those of other
    queues are noted in the inbox.
    ``results``: what a job with ``keep_result`` has returned can be read, as long as the job is kept.
    """

    delay: bool = False
    priority: bool = False
    queues: bool = True
    bulk: bool = False
    cancel: bool = False
    transactional: bool = False
    results: bool = False


class Adapter(Protocol):
    """What every queue has."""

    @property
    def capabilities(self) -> Capabilities: ...

    def enqueue(self, envelope: Envelope) -> None: ...
    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None: ...
    def close(self) -> None: ...


class Joins(Protocol):
    """What may live in the application's database."""

    def joins(self, engine: object) -> bool:
        """True if ``engine`` is the very engine that it was configured with."""
        ...


@runtime_checkable
class JoinsTransaction(Joins, Protocol):
    """A queue that lives in the application's database: its jobs commit with the application's rows."""

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        """Write the jobs by one statement on ``connection``; its owner commits."""
        ...


@runtime_checkable
class HasTransactions(Protocol):
    """A queue with the locks of its jobs in one database, so that they can be written by one transaction."""

    def transaction(self) -> AbstractContextManager[object]:
        """The connection of a transaction of the queue's own, for ``enqueue_within``, ``cancel_within`` and locks."""
        ...

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None: ...


@runtime_checkable
class Cancels(Protocol):
    """A queue that can take a job back before it runs."""

    def cancel(self, job_id: str) -> bool: ...


@runtime_checkable
class CancelsWithin(Protocol):
    """A queue in the application's database that can take a job back by the application's own transaction."""

    def cancel_within(self, connection: object, job_id: str) -> bool: ...


@runtime_checkable
class Drains(Protocol):
    """A queue that can perform everything that is due in this process, for tests."""

    def drain(self) -> int: ...


class WorkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker runs; times are seconds.

    ``queues`` come in their order, unless there are ``weights``: each of them then has its share.
    """

    queues: tuple[str, ...] = ("*",)
    weights: Mapping[str, int] = {}
    threads: int = 3
    drain: bool = False
    shutdown_timeout: float = 5.0
    polling_interval: float = 0.1
    health: tuple[str, int] | None = None  # where a queue that ``Supervises`` answers how it is


@runtime_checkable
class Works(Protocol):
    """A queue whose workers ``tenantjobs work`` starts."""

    def work(self, options: WorkOptions) -> int:
        """Run until stopped, or until drained; the exit code of the process."""
        ...


@runtime_checkable
class Supervises(Works, Protocol):
    """A queue whose work can be shared by several processes."""

    @property
    def plan(self) -> str | None:
        """The file that says which processes there are; None if there is none."""
        ...

    def supervise(self, options: WorkOptions, processes: int | None, command: Sequence[str]) -> int:
        """Run that many workers, and what they need beside them, until stopped; the exit code. None: those of the plan.

        ``command`` and a text as its last argument start a process that comes to ``serve`` with the text.
        """
        ...

    def serve(self, assignment: str) -> int:
        """Be the process that the supervisor wants; its exit code."""
        ...


@runtime_checkable
class HasLedger(Protocol):
    """A queue that brings the ledger of idempotency keys along."""

    @property
    def ledger(self) -> Ledger: ...


@runtime_checkable
class HasLocks(Protocol):
    """A queue that brings a place for the locks of unique jobs along."""

    @property
    def locks(self) -> Locks: ...


@runtime_checkable
class HasPermits(Protocol):
    """A queue that brings a place for the permits of limited jobs along."""

    @property
    def permits(self) -> Permits: ...


@runtime_checkable
class HasRates(Protocol):
    """A queue that brings a place to count the starts of jobs with a rate along."""

    @property
    def rates(self) -> Rates: ...


class AdapterClass(Protocol):
    """What an entry point of the group ``tenantjobs.adapters`` names."""

    Settings: ClassVar[type[msgspec.Struct]]

    def __call__(self, settings: Any, /) -> Adapter: ...


_lock = threading.RLock()
_built: dict[str, Adapter] = {}


def configured() -> Adapter:
    """The adapter that the configuration names, built on first use."""
    settings = runtime.settings()
    if settings.adapter is None:
        raise ConfigurationError(config.nothing_configured())
    return built(settings.adapter)


def built(name: str) -> Adapter:
    """The adapter called ``name``, with the settings of its section."""
    with _lock:
        adapter = _built.get(name)
        if adapter is None:
            adapter_class = load(name)
            section = config.section(runtime.settings(), name, adapter_class.Settings)
            adapter = _built[name] = adapter_class(section)
        return adapter


def keeper(kind: type) -> Adapter:
    """The configured adapter; or what is configured beside it, if that is a ``kind`` and the first is none."""
    found = configured()
    if isinstance(found, kind):
        return found
    for name in BESIDE:
        if runtime.settings().sections.get(name) and isinstance(beside := built(name), kind):
            return beside
    return found


def load(name: str) -> AdapterClass:
    """The class behind an entry point; ConfigurationError with the nearest name if there is none."""
    found: AdapterClass = config.adapter_class(name)
    return found


def enqueue_each(adapter: Adapter, envelopes: Sequence[Envelope]) -> Mapping[str, Exception]:
    """Enqueue all of them, by one call where the adapter can; why some were not enqueued, by the id of the job.

    What keeps all of them from the queue is raised.
    """
    if adapter.capabilities.bulk:
        try:
            adapter.enqueue_all(envelopes)
        except PartlyEnqueued as partly:
            return partly.errors
        return {}
    errors: dict[str, Exception] = {}
    for number, envelope in enumerate(envelopes):
        try:
            adapter.enqueue(envelope)
        except EnqueueError as error:
            errors[envelope.id] = error
        except Exception as error:
            # The queue does not answer: it is not asked again for each of the others.
            if number == len(errors):
                raise
            return errors | {other.id: error for other in envelopes[number:]}
    return errors


def has_transactions(adapter: Adapter) -> bool:
    """Whether it is a ``HasTransactions``."""
    return _have_transactions(type(adapter))


@cache
def _have_transactions(kind: type) -> bool:
    # Asked once for each class: what a protocol looks through takes longer than half of an enqueue.
    return issubclass(kind, HasTransactions)


def require(adapter: Adapter, capability: str, asked: str) -> None:
    """Refuse ``asked`` unless the adapter has declared ``capability``."""
    if not getattr(adapter.capabilities, capability):
        raise UnsupportedCapability(
            f"{type(adapter).__name__} cannot do {asked}: it does not declare {capability!r}. "
            f"Leave the option out, or choose an adapter that can."
        )


def _forget(changed: frozenset[str]) -> None:
    """Close what was built with other settings. What a change does not touch stays, with the jobs it may hold."""
    with _lock:
        stale = [name for name in _built if "adapter" in changed or name in changed]
        adapters = [_built.pop(name) for name in stale]
    for adapter in adapters:
        adapter.close()


runtime.on_change(_forget)

"""What happens to jobs, told to whoever listens: named events with typed payloads.

Of one job: ``Enqueuing``, then ``Enqueued``, ``EnqueueDropped`` or ``EnqueueRefused``. Of each attempt: ``Started``,
then ``Performed``, whose ``outcome`` says how it ended. ``Quarantined`` is a message that could not be run at all,
``Intervened`` what somebody did about a job by hand. Without a listener none of them is made.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Literal, TypeVar, overload

import msgspec

from tenantjobs import reporting
from tenantjobs.errors import ConfigurationError, EnvelopeError
from tenantjobs.running import JobContext
from tenantjobs.snapshot import Snapshot

logger = logging.getLogger("tenantjobs.instrumentation")

OutcomeName = Literal["finished", "retried", "discarded", "failed", "interrupted"]
VerbName = Literal["retried", "discarded", "cancelled", "told to stop", "advanced", "cleared"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. ``job`` says to which job; no event holds its arguments."""


class Enqueuing(Event, frozen=True, kw_only=True):
    """A job is about to leave, or to wait for the commit. What is put into ``headers`` here travels with it.

    They are texts by name, signed with the job where that is configured, and the same in all of its attempts.
    """

    job: JobContext
    headers: dict[str, str]


class Enqueued(Event, frozen=True, kw_only=True):
    """The queue, or the outbox, has the job: after the commit, if there was a transaction."""

    job: JobContext


class EnqueueDropped(Event, frozen=True, kw_only=True):
    """The job does not take place, because its transaction did not."""

    job: JobContext
    reason: str


class EnqueueRefused(Event, frozen=True, kw_only=True):
    """The job was not enqueued: the queue could not, or a hook has raised ``Abort``."""

    job: JobContext
    error: Exception


class Started(Event, frozen=True, kw_only=True):
    """An attempt begins. ``wait`` is how many seconds it was due; ``headers`` as they were put in ``Enqueuing``.

    ``now`` says that it is one of ``perform_now``: no queue knows its ``job.id``, and nothing was waited for. Always
    followed by ``Performed``, in the same thread or task, and in the same ``contextvars`` context: that of the caller
    under ``perform_now``, and one of its own in a worker.
    """

    job: JobContext
    wait: float
    headers: Mapping[str, str]
    now: bool = False


class Performed(Event, frozen=True, kw_only=True):
    """An attempt has ended. Only the outcome ``"finished"`` is a success; a retried job is not over.

    ``wait`` and ``run`` are seconds. ``error`` is what was raised; ``note`` says what else is to be known of it, as of
    a job that a guard has skipped; ``due_at`` is when a retried job runs again. Where ``now`` says that it was
    ``perform_now``, a job that has failed has raised its error at the caller.
    """

    job: JobContext
    outcome: OutcomeName
    wait: float
    run: float
    error: BaseException | None = None
    note: str | None = None
    due_at: datetime | None = None
    now: bool = False


class Quarantined(Event, frozen=True, kw_only=True):
    """A message may not be run. ``message`` is what its queue says of it: nothing that it says itself is believed."""

    message: str
    error: EnvelopeError


class Intervened(Event, frozen=True, kw_only=True):
    """Somebody has decided about a job by hand: by a command, or by ``stored_jobs(...)``. ``reason`` is what was said.

    It is ``"retried"`` after it had failed, ``"discarded"``, ``"cancelled"`` before it started, ``"told to stop"``
    if it runs, ``"advanced"`` to now, or ``"cleared"`` from the queue. ``job`` is as it stood before. No hook runs
    for what is decided by hand.
    """

    job: JobContext
    verb: VerbName
    reason: str | None = None


A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)


class Subscription:
    """A listener, until ``unsubscribe()`` or the end of its ``with`` block."""

    __slots__ = ("_kinds", "_listener")

    def __init__(self, listener: Callable[[Any], object], kinds: tuple[type[Event], ...]) -> None:
        self._listener = listener
        self._kinds = kinds

    def unsubscribe(self) -> None:
        """Hear no more of it. Doing so again changes nothing."""
        global listeners
        with _lock:
            listeners = tuple(other for other in listeners if other is not self)

    def hear(self, event: Event) -> None:
        """Call the listener, if it listens for this. What it raises is logged and reported, and hurts no job."""
        if not isinstance(event, self._kinds):
            return
        try:
            self._listener(event)
        except Exception as error:
            logger.exception("the listener %r failed for %s", self._listener, type(event).__name__)
            reporting.tell(error, handled=True, context={"event": type(event).__name__})

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.unsubscribe()


# Type checkers do not put larger unions together: a listener of more than two types is one of Event.
@overload
def subscribe(listener: Callable[[Event], object], /, *kinds: type[Event]) -> Subscription: ...
@overload
def subscribe(listener: Callable[[A], object], kind: type[A], /) -> Subscription: ...
@overload
def subscribe(listener: Callable[[A | B], object], kind: type[A], other: type[B], /) -> Subscription: ...
def subscribe(listener: Callable[[Any], object], /, *kinds: type[Event]) -> Subscription:
    """Call ``listener`` with every event of these types, of all types if none is named.

    It is called where the event happens, so it should be quick: a job waits for it. It is a plain function, for async
    jobs too. ``ConfigurationError`` for anything else, and for a type that is no event.
    """
    given: Any = listener  # whatever it was declared as, it is looked at
    if not callable(given) or iscoroutinefunction(given) or iscoroutinefunction(type(given).__call__):
        raise ConfigurationError(
            f"subscribe({listener!r:.120}): a listener is a plain function of one event, since nobody would await it"
        )
    wanted: tuple[Any, ...] = kinds
    for kind in wanted:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise ConfigurationError(
                f"subscribe(..., {kind!r:.80}): that is no event; those of tenantjobs.instrumentation are "
                f"{', '.join(event.__name__ for event in Event.__subclasses__())}"
            )
    global listeners
    subscription = Subscription(listener, kinds or (Event,))
    with _lock:
        listeners = (*listeners, subscription)
    return subscription


def emit(event: Event) -> None:
    """Tell all listeners; to be called, and the event made, only where ``listeners`` is not empty."""
    for subscription in listeners:
        subscription.hear(event)


def with_headers(snapshot: Snapshot, headers: dict[str, str]) -> Snapshot:
    """``snapshot`` with what is to travel beside it, in the place of what a job around this one came with."""
    return msgspec.structs.replace(snapshot, attributes={**snapshot.attributes, _HEADERS: headers})


def headers_of(snapshot: Snapshot) -> Mapping[str, str]:
    """What travelled beside it."""
    found = snapshot.attributes.get(_HEADERS)
    return found if isinstance(found, dict) and all(isinstance(text, str) for text in found.values()) else {}


#: Who listens: replaced and never changed, so that nobody needs the lock to read it.
listeners: tuple[Subscription, ...] = ()

_lock = threading.Lock()
# Among the attributes of a snapshot, where a process without listeners hands it on; no attribute can be called so.
_HEADERS = "tenantjobs.headers"

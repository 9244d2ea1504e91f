"""The single door: every worker of every queue comes through here with the data that was enqueued.

Load and verify, else quarantine; then one attempt, on a thread or on an event loop, and what came of it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import copy_context
from importlib import import_module

from tenantjobs import adapter, concluding, definition, gate, instrumentation, reporting, signing
from tenantjobs.attempt import Attempt, Delivery
from tenantjobs.bookmarks import Beside, TakenOver, beside
from tenantjobs.colours import Awaiting, Blocking, Colour, asyncio, drive
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError, UnknownJob
from tenantjobs.holding import forsake
from tenantjobs.outcome import Failed, Finished, Outcome, Quarantined, Retried
from tenantjobs.recording import Recording

logger = logging.getLogger("tenantjobs.execution")


def perform(data: bytes | str, *, stopping: Callable[[], bool] | None = None) -> object:
    """Perform what was enqueued, for the native worker of any queue.

    Gives what the job returned. A retry is enqueued again, a discarded job gives None, a failure is raised, and
    an envelope that may not be run is raised as an ``EnvelopeError``; what becomes of a job that a gate has let through
    is written in its table, and told nobody else. ``stopping`` says whether the worker wants to
    end: then a job with steps is interrupted at its next checkpoint, and enqueued again.
    """
    if (ticket := gate.shown(data)) is not None:
        return ticket.perform(stopping)
    try:
        outcome = execute(data, None if stopping is None else _Message(stopping))
    except TakenOver as taken:
        _left_to_another(taken)
        return None
    if isinstance(outcome, Retried):
        adapter.configured().enqueue(outcome.again())
    return _value(outcome)


async def aperform(data: bytes | str, *, stopping: Callable[[], bool] | None = None) -> object:
    """The same on a running event loop; a synchronous job goes to a thread."""
    if (ticket := gate.shown(data)) is not None:
        return await asyncio().to_thread(ticket.perform, stopping)
    try:
        outcome = await aexecute(data, None if stopping is None else _Message(stopping))
    except TakenOver as taken:
        _left_to_another(taken)
        return None
    if isinstance(outcome, Retried):
        await asyncio().to_thread(adapter.configured().enqueue, outcome.again())
    return _value(outcome)


def execute(data: bytes | str, delivery: Delivery | None = None) -> Outcome:
    """One attempt, and its verdict for a worker that settles by itself.

    ``Interruption`` and ``LeaseLost`` come out as they are: rolled back, no verdict, no attempt charged.
    """
    try:
        envelope, job = _known(data, delivery)
    except EnvelopeError as error:
        return _quarantined(error, delivery)
    if job.is_async:
        outcome: Outcome = import_module("tenantjobs.loops").run(_attempt(envelope, job, Awaiting(), delivery))
        return outcome
    # A copy of the context, so that whatever the job sets in any variable ends with the job.
    return copy_context().run(drive, _attempt(envelope, job, Blocking(), delivery))


async def aexecute_in_task(data: bytes | str, delivery: Delivery | None = None) -> Outcome:
    """The same for an async job, in a task of its own: whatever the job sets in any variable ends with that task."""
    try:
        envelope, job = _known(data, delivery)
    except EnvelopeError as error:
        return _quarantined(error, delivery)
    return await _attempt(envelope, job, Awaiting(), delivery)


async def aexecute(data: bytes | str, delivery: Delivery | None = None) -> Outcome:
    """The same on a running event loop, in any task; a synchronous job goes to a thread."""
    try:
        envelope, job = _known(data, delivery)
    except EnvelopeError as error:
        return _quarantined(error, delivery)
    outcome: Outcome
    if job.is_async:
        # A task has a copy of the context of its own.
        outcome = await asyncio().create_task(_attempt(envelope, job, Awaiting(), delivery))
    else:
        outcome = await asyncio().to_thread(execute, data, delivery)
    return outcome


class _Message:
    """What the worker of a broker knows of a job: nothing but whether it is to stop. It keeps no bookmarks."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self.stopping = stopping

    def verify(self, envelope: Envelope) -> None:
        """A message says nothing beside its data."""

    def lost(self) -> bool:
        return False

    def beside(self, envelope: Envelope) -> Beside | None:
        return beside(envelope)

    def __str__(self) -> str:
        return "a message"


async def _attempt(envelope: Envelope, job: Definition, io: Colour, delivery: Delivery | None) -> Outcome:
    attempt = Attempt(envelope, job, io, delivery)
    recording = Recording(attempt.context, envelope)
    try:
        outcome = await attempt.outcome()
    except BaseException as error:
        recording.interrupted(error)
        raise
    recording.ended(outcome)
    return _quarantined(outcome.error, delivery) if isinstance(outcome, Quarantined) else outcome


def _known(data: bytes | str, delivery: Delivery | None) -> tuple[Envelope, Definition]:
    envelope = Envelope.decode(data)
    signing.verify(envelope)
    if delivery is not None:
        delivery.verify(envelope)
    job = definition.lookup(envelope.name)
    if job is None:
        forsake(envelope)
        concluding.forget(envelope)
        like = definition.nearest_name(envelope.name)
        hint = f" Did you mean {like}?" if like else ""
        raise UnknownJob(
            f"no job is called {envelope.name!r:.100} here.{hint} A worker knows the jobs that importing `app` "
            f"defines; a job that was renamed keeps its old name in aliases=(...)"
        )
    return envelope, job


def _quarantined(error: EnvelopeError, delivery: Delivery | None) -> Quarantined:
    message = "a message" if delivery is None else str(delivery)
    extra = {"outcome": "quarantined", "error": type(error).__qualname__}
    logger.error("quarantined %s: %s", message, error, extra=extra)
    if instrumentation.listeners:
        instrumentation.emit(instrumentation.Quarantined(message=message, error=error))
    reporting.tell(error, handled=False)
    return Quarantined(error)


def _left_to_another(taken: TakenOver) -> None:
    """Nothing came of this delivery: for its queue it is over, and the other one says what became of the job."""
    logger.warning("%s", taken)


def _value(outcome: Outcome) -> object:
    if isinstance(outcome, Failed | Quarantined):
        raise outcome.error
    return outcome.value if isinstance(outcome, Finished) else None

"""The single door: every worker of every queue comes through here with the data that was enqueued.

Load and verify, else quarantine; then one attempt, on a thread or on an event loop, and what came of it is told.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from importlib import import_module

from tenantjobs import adapter, definition, reporting, signing
from tenantjobs.attempt import Attempt, Delivery
from tenantjobs.colours import Awaiting, Blocking, Colour, asyncio, drive
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError, UnknownJob
from tenantjobs.holding import forsake
from tenantjobs.outcome import Discarded, Failed, Finished, Outcome, Quarantined, Retried

logger = logging.getLogger("tenantjobs.execution")


def perform(data: bytes | str) -> object:
    """Perform what was enqueued, for the native worker of any queue.

    Gives what the job returned. A retry is enqueued again, a discarded job gives None, a failure is raised, and
    an envelope that may not be run is raised as an ``EnvelopeError``.
    """
    outcome = execute(data)
    if isinstance(outcome, Retried):
        adapter.configured().enqueue(outcome.again())
    return _value(outcome)


async def aperform(data: bytes | str) -> object:
    """The same on a running event loop; a synchronous job goes to a thread."""
    outcome = await aexecute(data)
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


async def aexecute(data: bytes | str, delivery: Delivery | None = None) -> Outcome:
    """The same on a running event loop; a synchronous job goes to a thread."""
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


async def _attempt(envelope: Envelope, job: Definition, io: Colour, delivery: Delivery | None) -> Outcome:
    attempt = Attempt(envelope, job, io, delivery)
    outcome = await attempt.outcome()
    _log(attempt.envelope, outcome)
    return outcome


def _known(data: bytes | str, delivery: Delivery | None) -> tuple[Envelope, Definition]:
    envelope = Envelope.decode(data)
    signing.verify(envelope)
    if delivery is not None:
        delivery.verify(envelope)
    job = definition.lookup(envelope.name)
    if job is None:
        forsake(envelope)
        like = definition.nearest_name(envelope.name)
        hint = f" Did you mean {like}?" if like else ""
        raise UnknownJob(
            f"no job is called {envelope.name!r} here.{hint} A worker knows the jobs that importing `app` defines; "
            f"a job that was renamed keeps its old name in aliases=(...)"
        )
    return envelope, job


def _quarantined(error: EnvelopeError, delivery: Delivery | None) -> Quarantined:
    logger.error("quarantined %s: %s", "a message" if delivery is None else delivery, error)
    reporting.tell(error, handled=False)
    return Quarantined(error)


def _value(outcome: Outcome) -> object:
    if isinstance(outcome, Failed | Quarantined):
        raise outcome.error
    return outcome.value if isinstance(outcome, Finished) else None


def _log(envelope: Envelope, outcome: Outcome) -> None:
    job = (
        f"{envelope.name} id={envelope.id} queue={envelope.queue} tenant={envelope.tenant_id} "
        f"attempt={envelope.attempt}"
    )
    match outcome:
        case Finished(note=None):
            logger.info("performed %s", job)
        case Finished(note=note):
            logger.info("finished %s: %s", job, note)
        case Retried(due_at=due_at, error=error, note=note):
            logger.info("retried %s at %s: %s", job, due_at.isoformat(), note or repr(error))
        case Discarded(reason=reason, error=error):
            logger.warning("discarded %s: %s (%r)", job, reason, error)
        case Failed(error=error):
            logger.error("failed %s: %r", job, error)
        case Quarantined():
            pass

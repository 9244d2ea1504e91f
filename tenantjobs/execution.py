"""The single door: every worker of every queue comes through here with the data that was enqueued.

load and verify, else quarantine
  -> restored ids { key guards { verdict { session {
         locate tenant { locate arguments { state guards { hooks { run }}}} complete, commit }}}}

The order is the design. Restoring does no I/O, so every handler knows the tenant's id, even of a tenant that is
gone; locating is inside the verdict, so that what is gone can be discarded. The way is written once, as a coroutine:
for a synchronous job nothing in it ever suspends, and it is driven without a loop.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from contextvars import copy_context
from datetime import timedelta
from importlib import import_module
from typing import Any, Protocol

import msgspec

from tenantjobs import adapter, clock, definition, faults, sentinel, signing
from tenantjobs.arguments import thaw
from tenantjobs.colours import Awaiting, Blocking, Colour, asyncio, drive
from tenantjobs.completing import AlreadyDone, Completion
from tenantjobs.current import Current, Snapshot
from tenantjobs.definition import Definition
from tenantjobs.enqueuing import refuse_foreign, require_scope, system_scope
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError, KeyTaken, LeaseLost, UnknownJob
from tenantjobs.keyed import Key, behind_key, ledger_for
from tenantjobs.outcome import Discarded, Failed, Finished, Outcome, Quarantined, Retried
from tenantjobs.policies import after_perform, around_perform, before_perform, guard
from tenantjobs.running import JobContext, running
from tenantjobs.verdict import verdict

logger = logging.getLogger("tenantjobs.execution")

REPLAYED = "it was delivered again, and its effect is there already"
KEY_RETRY = 5.0  # seconds until a job asks again for a key that another one holds


class Delivery(Protocol):
    """What a worker knows beyond the data; as a text, which job it is."""

    def verify(self, envelope: Envelope) -> None:
        """``EnvelopeError`` if it is not the envelope that was to come: another job's, or another tenant's."""
        ...

    def lost(self) -> bool:
        """True once another worker may own the job: its work is rolled back then."""
        ...


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
    charged = msgspec.structs.replace(envelope, attempt=envelope.attempt + 1)
    context = _job_context(charged)
    with sentinel.performing(context), Current.restored(_snapshot(envelope, job)), running(context):
        outcome: Outcome
        try:
            outcome = await _behind_its_key(charged, job, io, delivery)
        except KeyTaken:
            outcome = _uncharged(charged, KEY_RETRY)
        except AlreadyDone:
            outcome = Finished(note=REPLAYED)
        except BaseException as error:
            if not io.is_failure(error):
                raise
            outcome = await verdict(charged, job, io, error)
        _log(charged, outcome)
        return outcome


def _snapshot(envelope: Envelope, job: Definition) -> Snapshot:
    found = envelope.snapshot
    if job.tenancy == "none" and found.scope == "unset":  # enqueued before the job said that it is for no tenant
        return system_scope(job, found)
    return found


async def _behind_its_key(envelope: Envelope, job: Definition, io: Colour, delivery: Delivery | None) -> Outcome:
    policy = job.idempotent
    if policy is None:
        return await _work(envelope, job, io, None, delivery)
    key = Key(ledger_for(f"job {job.name} is @idempotent"), envelope.tenant_id or "", _key(envelope, job))
    finished = await behind_key(
        policy, io, key=key, owner=envelope.id, work=lambda: _work(envelope, job, io, key, delivery)
    )
    if finished == "running":
        return _uncharged(envelope, min(policy.lease, KEY_RETRY))
    return finished


def _uncharged(envelope: Envelope, seconds: float) -> Retried:
    """Nothing has been attempted: the job comes back, and its attempt is not charged."""
    again = msgspec.structs.replace(envelope, attempt=envelope.attempt - 1)
    return Retried(again, clock.now() + timedelta(seconds=seconds), note="another one is at work on its key")


def _key(envelope: Envelope, job: Definition) -> str:
    key = envelope.keys.get("idempotent")
    if key is None:
        logger.warning("job %s id=%s was enqueued before it was @idempotent: its id is its key", job.name, envelope.id)
        return f"{job.name}:{envelope.id}"
    return key


async def _work(
    envelope: Envelope, job: Definition, io: Colour, key: Key | None, delivery: Delivery | None
) -> Finished:
    """One transaction: locate, load, run, complete key and job. The exit of the session is the commit."""
    completion = Completion(envelope, job, io, delivery) if job.transactional else None
    async with io.session(job) as session:
        if completion is not None and await completion.is_known(session):
            finished = Finished(note=REPLAYED)
            completion = None
        else:
            finished = await _run_with_records(envelope, job, io)
        joined = key is not None and session is not None and await io.settle(session.run(key.complete_within))
        if delivery is not None and delivery.lost():
            raise LeaseLost(f"job {job.name} id={envelope.id} belongs to another worker by now")
        if completion is not None:
            completion.with_commit(session, finished)
        faults.point("before_commit")
    faults.point("after_commit")
    if key is not None and not joined:
        await io.blocking(key.complete)
    return finished if completion is None else completion.settled(finished)


async def _run_with_records(envelope: Envelope, job: Definition, io: Colour) -> Finished:
    await _locate_tenant(envelope, job, io)
    args, kwargs = await _load(envelope, job, io)
    faults.point("after_load")
    return await run(job, args, kwargs, io)


async def run(job: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], io: Colour) -> Finished:
    """The state guards, the hooks and the job itself."""
    given = (*job.leading(), *args)
    for policy in job.policies(guard):
        if not await io.call(policy.function, *given, **kwargs):
            return Finished(note="its guard said no")
    for before in job.policies(before_perform):
        await io.call(before.function, *given, **kwargs)
    value = None  # a hook around the job may take its error for itself
    async with AsyncExitStack() as stack:
        for around in job.policies(around_perform):
            await stack.enter_async_context(io.around(around.function, *given, **kwargs))
        faults.point("before_effect")
        value = await io.call(job.function, *given, **kwargs)
        faults.point("after_effect")
    for after in reversed(job.policies(after_perform)):
        await io.call(after.function, *given, **kwargs)
    return Finished(value)


async def _locate_tenant(envelope: Envelope, job: Definition, io: Colour) -> None:
    if envelope.snapshot.scope == "unset":
        require_scope(job, "performed")
    if envelope.tenant_id is not None:
        await io.locate_tenant()
    await io.load_attributes()


async def _load(envelope: Envelope, job: Definition, io: Colour) -> tuple[tuple[Any, ...], dict[str, Any]]:
    thawed = thaw(envelope.arguments, job.types)
    records = {}
    for reference in thawed.references:
        record = await io.locate(reference)
        refuse_foreign(job, record, envelope.tenant_id)
        records[reference] = record
    return thawed.fill(records)


def _known(data: bytes | str, delivery: Delivery | None) -> tuple[Envelope, Definition]:
    envelope = Envelope.decode(data)
    signing.verify(envelope)
    if delivery is not None:
        delivery.verify(envelope)
    job = definition.lookup(envelope.name)
    if job is None:
        like = definition.nearest_name(envelope.name)
        hint = f" Did you mean {like}?" if like else ""
        raise UnknownJob(
            f"no job is called {envelope.name!r} here.{hint} A worker knows the jobs that importing `app` defines; "
            f"a job that was renamed keeps its old name in aliases=(...)"
        )
    return envelope, job


def _quarantined(error: EnvelopeError, delivery: Delivery | None) -> Quarantined:
    logger.error("quarantined %s: %s", "a message" if delivery is None else delivery, error)
    return Quarantined(error)


def _value(outcome: Outcome) -> object:
    if isinstance(outcome, Failed | Quarantined):
        raise outcome.error
    return outcome.value if isinstance(outcome, Finished) else None


def _job_context(envelope: Envelope) -> JobContext:
    return JobContext(
        id=envelope.id,
        name=envelope.name,
        attempt=envelope.attempt,
        queue=envelope.queue,
        priority=envelope.priority,
        enqueued_at=envelope.enqueued_at,
        due_at=envelope.due_at,
        tenant_id=envelope.tenant_id,
    )


def _log(envelope: Envelope, outcome: Outcome) -> None:
    job = (
        f"{envelope.name} id={envelope.id} queue={envelope.queue} tenant={envelope.tenant_id} "
        f"attempt={envelope.attempt}"
    )
    match outcome:
        case Finished(note=None):
            logger.info("performed %s", job)
        case Finished(note=note):
            logger.info("skipped %s: %s", job, note)
        case Retried(due_at=due_at, error=error, note=note):
            logger.info("retried %s at %s: %s", job, due_at.isoformat(), note or repr(error))
        case Discarded(reason=reason, error=error):
            logger.warning("discarded %s: %s (%r)", job, reason, error)
        case Failed(error=error):
            logger.error("failed %s: %r", job, error)
        case Quarantined():
            pass

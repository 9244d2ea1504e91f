"""``perform_now``: the job here and at once, in the scope and the session of the caller."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, ValuesView
from contextlib import nullcontext
from contextvars import Context, copy_context
from typing import Any

from tenantjobs import clock
from tenantjobs.arguments import freeze
from tenantjobs.body import in_time, run
from tenantjobs.call import Call
from tenantjobs.colours import Awaiting, Blocking, Colour, asyncio, drive
from tenantjobs.course import Course
from tenantjobs.current import Current
from tenantjobs.definition import Definition
from tenantjobs.envelope import new_id
from tenantjobs.errors import DuplicateJob, LimitReached
from tenantjobs.handlers import discard_on
from tenantjobs.holding import running_alone
from tenantjobs.idempotency import ledger_for
from tenantjobs.keyed import Key, behind_key
from tenantjobs.keying import idempotency_key, limit_key, rate_key, unique_key
from tenantjobs.limiting import permitted
from tenantjobs.limits import permits_for
from tenantjobs.outcome import Discarded, Finished
from tenantjobs.permits import Request
from tenantjobs.rates import Start, rates_for
from tenantjobs.recording import Recording
from tenantjobs.running import JobContext, running
from tenantjobs.tenancy import refuse_foreign, require_scope
from tenantjobs.uniqueness import locks_for, running_lock
from tenantjobs.verdict import give_up


def perform_now(call: Call) -> Any:
    """Run hooks, guards and ``discard_on``, without a queue; any other error is raised, nothing is retried.

    Gives what the job returned, or None if it was skipped or discarded. For an async job: the coroutine to await.
    """
    job = call.definition
    try:
        job.signature.bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise TypeError(f"job {job.name}: {error}") from None
    if job.is_async:
        return _in_context(copy_context(), call)
    return drive(_perform(call, Blocking()))


async def _in_context(context: Context, call: Call) -> Any:
    # The scope is that of the call, wherever it is awaited.
    return await asyncio().create_task(_perform(call, Awaiting()), context=context)


async def _perform(call: Call, io: Colour) -> Any:
    job = call.definition
    scope = Current.system(f"job {job.name}") if job.tenancy == "none" else nullcontext()
    with scope, running(None):
        if Current.scope == "unset":
            require_scope(job, "performed")
        for record in _values([*call.args, *call.kwargs.values()]):
            refuse_foreign(job, record, Current.tenant_id)
        leading, context = job.leading(), _context(job)
        recording = Recording(context, None)
        try:
            finished = await _answered(call, leading, io, context)
        except BaseException as error:
            if io.is_failure(error):
                recording.raised(error)
            else:
                recording.interrupted(error)
            raise
        recording.ended(finished)
        return finished.value if isinstance(finished, Finished) else None


async def _answered(call: Call, leading: tuple[Any, ...], io: Colour, context: JobContext) -> Finished | Discarded:
    """What came of it, where the job does not leave its error to the caller."""
    job = call.definition
    try:
        return await _limited(call, leading, io)
    except BaseException as error:
        policy = job.handler(error) if io.is_failure(error) else None
        if not isinstance(policy, discard_on):
            raise
        await give_up(job, io, error, policy, leading[0] if job.has_object else context)
        return Discarded("its declaration discards this error", error)


def _values(value: object) -> Iterator[object]:
    """The values in the collections that arguments may be made of: a record may be among them."""
    if isinstance(value, Mapping):
        yield from _values(value.values())
    elif isinstance(value, list | tuple | set | frozenset | ValuesView):
        for part in value:
            yield from _values(part)
    else:
        yield value


async def _limited(call: Call, leading: tuple[Any, ...], io: Colour) -> Finished:
    """As one of those that may run at once."""
    job, policy = call.definition, call.definition.limit
    if policy is None:
        return await _in_time(call, leading, io)
    tenant, owner = Current.tenant_id, new_id()
    key = limit_key(job, policy, tenant, (*leading, *call.args), call.kwargs)
    wanted = Request(key, policy.to, tenant or "", owner, owner, policy.duration)
    async with permitted(wanted, permits_for(f"job {job.name} is limited"), io, f"job {job.name}"):
        return await _in_time(call, leading, io)


async def _in_time(call: Call, leading: tuple[Any, ...], io: Colour) -> Finished:
    """Counted as one that starts now; ``LimitReached`` if its rate has no room for it."""
    job, policy = call.definition, call.definition.rate
    if policy is not None:
        tenant = Current.tenant_id
        key = rate_key(job, policy, tenant, (*leading, *call.args), call.kwargs)
        wanted = Start(key, tenant or "", new_id(), policy.to, policy.seconds, policy.burst)
        wait = await io.blocking(rates_for(f"job {job.name} has a rate").start, wanted)
        if wait:
            raise LimitReached(
                f"job {job.name}: {policy.to} with the key {key} have started in the last {policy.seconds:g} s, as "
                f"many as may: try again in {wait:.3g} s"
            )
    return await _alone(call, leading, io)


async def _alone(call: Call, leading: tuple[Any, ...], io: Colour) -> Finished:
    """Not beside one that is running, if the job says so; what waits in the queue is left there."""
    job, policy = call.definition, call.definition.unique
    if policy is None or policy.until != "until_and_while_executing":
        return await _behind_its_key(call, leading, io)
    key = unique_key(job, policy, (*leading, *call.args), call.kwargs, _arguments(call, policy.key))
    lock = running_lock(Current.tenant_id, key, new_id(), policy.ttl)
    async with running_alone(lock, locks_for(f"job {job.name} is @unique"), io, f"job {job.name}"):
        return await _behind_its_key(call, leading, io)


async def _behind_its_key(call: Call, leading: tuple[Any, ...], io: Colour) -> Finished:
    job = call.definition

    async def body() -> Finished:
        course = Course(job, io)
        with course:
            finished = await run(job, (*leading, *call.args), call.kwargs, io)
        course.end()
        return finished

    policy = job.idempotent
    if policy is None:
        return await in_time(job, io, body)

    name = idempotency_key(job, policy, (*leading, *call.args), call.kwargs, _arguments(call, policy.key))
    key = Key(ledger_for(f"job {job.name} is @idempotent"), Current.tenant_id or "", name, joining=True)

    async def work() -> Finished:
        finished = await in_time(job, io, body)
        await key.complete_with_caller(io)
        return finished

    owner = f"now:{id(call)}:{time.monotonic_ns()}"
    finished = await behind_key(policy, io, key=key, owner=owner, work=work)
    if finished == "running":
        raise DuplicateJob(f"job {job.name}: another one is at work on its key {name!r}; try again when it has ended")
    return finished


def _arguments(call: Call, key: object) -> bytes:
    """The arguments as they would travel, where no callable makes a key of them."""
    job = call.definition
    return b"" if key else freeze(job.binding, call.args, call.kwargs, types=job.types).seal()


def _context(job: Definition) -> JobContext:
    """What is told of a job that was never enqueued: to events, and to handlers of a function or a method."""
    return JobContext(
        id=new_id(),
        name=job.name,
        attempt=1,
        queue=job.queue,
        priority=job.priority,
        enqueued_at=clock.now(),
        due_at=None,
        tenant_id=Current.tenant_id,
    )

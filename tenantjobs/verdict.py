"""What is decided about an error, as the job declares it: again, given up, or failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import msgspec

from tenantjobs import adapter, clock, reporting
from tenantjobs.colours import Colour
from tenantjobs.current import Current
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import UnsupportedCapability
from tenantjobs.handlers import ErrorPolicy, discard_on, rescue_from, retry_on
from tenantjobs.hooks import after_discard
from tenantjobs.options import queue_name
from tenantjobs.outcome import Discarded, Failed, Finished, Outcome, Retried
from tenantjobs.parameters import positionals
from tenantjobs.running import RetryAsked

T = TypeVar("T")

Subject = Callable[[], object]  # gives what handlers are told of the job: its object, or what is known of it


async def verdict(envelope: Envelope, job: Definition, io: Colour, error: BaseException, subject: Subject) -> Outcome:
    """What the declarations say about ``error``. Handlers run with the tenant's id, in a session of their own."""
    try:
        policy = job.handler(error)
        if isinstance(policy, rescue_from):
            value = await _in_session(envelope, job, io, lambda: _handle(io, policy, subject(), error))
            return Finished(value, note=f"rescued from {error!r}")
        executions = 0
        if isinstance(policy, retry_on):
            executions = envelope.counters.get(policy.key, 0) + 1
            if not policy.exhausted(executions):
                if policy.report:
                    reporting.tell(error, handled=True)
                return _retried(envelope, policy, executions, error)
        if _has_to_be_told(job, policy):
            await _in_session(envelope, job, io, lambda: give_up(job, io, error, policy, subject()))
        if isinstance(policy, discard_on):
            return Discarded("its declaration discards this error", error)
        if policy is not None and policy.then is not None:
            return Discarded(f"out of attempts after {executions}", error)
    except Exception as failure:
        # A handler that fails must not hide what it was called for.
        if failure.__cause__ is None and failure is not error:
            failure.__cause__ = error
        error = failure
    reporting.tell(error, handled=False)
    return Failed(error, envelope)


async def give_up(
    job: Definition, io: Colour, error: BaseException, policy: ErrorPolicy | None, subject: object
) -> None:
    """Report the error where that is declared, call ``then``, and all ``after_discard`` hooks."""
    if isinstance(policy, discard_on) and policy.report:
        reporting.tell(error, handled=True)
    await _handle(io, policy, subject, error)
    failure: Exception | None = None
    for hook in job.policies(after_discard):
        try:
            if await io.applies(hook, subject, error):
                await io.call(hook.function, subject, error)
        except Exception as raised:
            failure = raised
    if failure is not None:
        raise failure


def again(envelope: Envelope, asked: RetryAsked) -> Retried | Failed:
    """The next attempt, as the job itself asked for it."""
    chosen = asked.options
    try:
        if chosen.priority:
            adapter.require(adapter.configured(), "priority", f"the priority of the next attempt of {envelope.name}")
    except UnsupportedCapability as refusal:
        return Failed(refusal, envelope)
    error = asked.__context__
    return Retried(
        _with(envelope, chosen.queue, chosen.priority),
        chosen.due_at or clock.now(),
        error if isinstance(error, Exception) else None,
        note="it asked for another attempt",
    )


def _retried(envelope: Envelope, policy: retry_on, executions: int, error: BaseException) -> Retried:
    counted = msgspec.structs.replace(envelope, counters={**envelope.counters, policy.key: executions})
    due_at = clock.now() + timedelta(seconds=policy.delay(executions, error))
    return Retried(_with(counted, policy.queue, policy.priority), due_at, error)


def _with(envelope: Envelope, queue: str | None, priority: int | None) -> Envelope:
    return msgspec.structs.replace(
        envelope,
        queue=envelope.queue if queue is None else queue_name(queue),
        priority=envelope.priority if priority is None else priority,
    )


def _has_to_be_told(job: Definition, policy: ErrorPolicy | None) -> bool:
    declared = policy is not None and (policy.then is not None or policy.report)
    return declared or bool(job.policies(after_discard))


async def _handle(io: Colour, policy: ErrorPolicy | None, subject: object, error: BaseException) -> object:
    if policy is None or policy.then is None:
        return None
    given = (subject, error) if positionals(policy.then) > 1 else (error,)
    return await io.call(policy.then, *given)


async def _in_session(envelope: Envelope, job: Definition, io: Colour, handle: Callable[[], Awaitable[T]]) -> T:
    asked: RetryAsked | None = None
    async with io.session(job):
        # Restored anew: what the attempt located belongs to its own session, which is closed by now.
        with Current.restored(envelope.snapshot):
            await io.locate_for_handlers()
            try:
                return await handle()
            except RetryAsked as error:
                asked = error  # the handler has done its work, which is committed
    assert asked is not None
    raise asked

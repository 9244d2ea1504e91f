"""What is decided about an error, as the job declares it: again, given up, or failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from tenantjobs import clock
from tenantjobs.colours import Colour
from tenantjobs.current import Current
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.outcome import Discarded, Failed, Outcome, Retried
from tenantjobs.policies import ErrorPolicy, after_discard, discard_on, positionals, retry_on
from tenantjobs.running import current_job


async def verdict(envelope: Envelope, job: Definition, io: Colour, error: BaseException) -> Outcome:
    """What the declarations say about ``error``. Handlers run with the tenant's id, in a session of their own."""
    try:
        policy = job.handler(error)
        if isinstance(policy, retry_on):
            executions = envelope.counters.get(policy.key, 0) + 1
            if not policy.exhausted(executions):
                return _retried(envelope, policy, executions, error)
            if policy.then is not None:
                await _in_session(envelope, job, io, error, policy)
                return Discarded(f"out of attempts after {executions}", error)
        elif isinstance(policy, discard_on):
            await _in_session(envelope, job, io, error, policy)
            return Discarded("its declaration discards this error", error)
        await _in_session(envelope, job, io, error, None)
    except Exception as failure:
        # A handler that fails must not hide what it was called for.
        if failure.__cause__ is None and failure is not error:
            failure.__cause__ = error
        error = failure
    return Failed(error, envelope)


def _retried(envelope: Envelope, policy: retry_on, executions: int, error: BaseException) -> Retried:
    again = msgspec.structs.replace(
        envelope,
        counters={**envelope.counters, policy.key: executions},
        queue=envelope.queue if policy.queue is None else policy.queue,
        priority=envelope.priority if policy.priority is None else policy.priority,
    )
    return Retried(again, clock.now() + timedelta(seconds=policy.delay(executions, error)), error)


async def give_up(job: Definition, io: Colour, error: BaseException, policy: ErrorPolicy | None) -> None:
    """Call ``then`` and the ``after_discard`` hooks with the job and the error."""
    subject = (job.leading() or (current_job(),))[0]
    if policy is not None and policy.then is not None:
        await io.call(policy.then, *_handler_arguments(policy.then, subject, error))
    for hook in job.policies(after_discard):
        await io.call(hook.function, subject, error)


async def _in_session(
    envelope: Envelope, job: Definition, io: Colour, error: BaseException, policy: ErrorPolicy | None
) -> None:
    if not job.policies(after_discard) and (policy is None or policy.then is None):
        return
    async with io.session(job):
        # Restored anew: what the attempt located belongs to its own session, which is closed by now.
        with Current.restored(envelope.snapshot):
            await io.locate_for_handlers()
            await give_up(job, io, error, policy)


def _handler_arguments(handler: Callable[..., object], subject: object, error: BaseException) -> tuple[object, ...]:
    return (subject, error) if positionals(handler) > 1 else (error,)

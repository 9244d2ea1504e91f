"""The job itself, within its state guards, its hooks and its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from tenantjobs import faults
from tenantjobs.colours import Colour
from tenantjobs.definition import Definition
from tenantjobs.errors import Abort
from tenantjobs.hooks import After, Around, PerformHook, guard
from tenantjobs.outcome import Finished
from tenantjobs.timeouts import TimeUp, timeout_of


async def run(job: Definition, given: tuple[Any, ...], kwargs: dict[str, Any], io: Colour) -> Finished:
    """Guards, hooks and the job. ``given`` is the job object, if there is one, and then the arguments.

    Hooks nest in the order of their declaration: what is declared after a hook runs inside of it.
    """
    if not job.policies(guard) and not job.policies(PerformHook):
        return Finished(await _effect(job, given, kwargs, io))
    value = None  # a hook around the job may take its error for itself
    async with AsyncExitStack() as stack:
        afters = Afters(io, given, kwargs)
        try:
            for policy in job.policies(guard):
                if await io.applies(policy, *given, **kwargs) and not await io.call(policy.function, *given, **kwargs):
                    return Finished(note="its guard said no")
            for hook in job.policies(PerformHook):
                if not await io.applies(hook, *given, **kwargs):
                    continue
                if isinstance(hook, After):
                    stack.push_async_exit(afters.of(hook))
                elif not isinstance(hook, Around):
                    await io.call(hook.function, *given, **kwargs)
                elif not await io.enter(stack, hook.function, *given, **kwargs):
                    return Finished(note="a hook around it did not yield")
        except Abort as abort:
            afters.skipped = True
            return Finished(note=f"aborted: {abort}" if abort.args else "aborted by a hook")
        value = await _effect(job, given, kwargs, io)
    return Finished(value)


async def _effect(job: Definition, given: tuple[Any, ...], kwargs: dict[str, Any], io: Colour) -> Any:
    faults.point("before_effect")
    value = await io.call(job.function, *given, **kwargs)
    faults.point("after_effect")
    return value


async def in_time(job: Definition, io: Colour, work: Callable[[], Awaitable[Finished]]) -> Finished:
    """Do ``work`` within the ``timeout`` of the job, else ``JobTimeout``."""
    if job.timeout is None:
        return await work()
    try:
        async with io.limited(job.timeout):
            return await work()
    except TimeUp as end:
        raise timeout_of(job.name, job.timeout) from end


class Afters:
    """The hooks after a job, each to be left like a block inside of what was declared before it."""

    def __init__(self, io: Colour, given: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._io = io
        self._given = given
        self._kwargs = kwargs
        self.skipped = False

    def of(self, hook: After) -> Any:
        async def leave(_kind: object, error: object, _traceback: object) -> None:
            if error is None and not self.skipped:
                await self._io.call(hook.function, *self._given, **self._kwargs)

        return leave

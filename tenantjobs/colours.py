"""The two colours of a job. The way of a job is written once, as a coroutine that asks one of these for its I/O.

With ``Blocking`` nothing in that coroutine ever suspends, so ``drive`` runs it without a loop.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from importlib import import_module
from inspect import isasyncgen, isawaitable, iscoroutine
from typing import Any, TypeVar

from tenantjobs import current, identity, timeouts, transaction
from tenantjobs.adapter import Joins
from tenantjobs.definition import Definition
from tenantjobs.errors import ArgumentError, ConfigurationError, TenancyError
from tenantjobs.hooks import Hook, never_yielded
from tenantjobs.timeouts import TimeUp

T = TypeVar("T")

NOTHING: nullcontext[None] = nullcontext()  # one for all jobs, of which most are in two of them


class Blocking:
    """How a synchronous job does its I/O: at once, in this thread."""

    def is_failure(self, error: BaseException) -> bool:
        # A job that exits has failed; its worker goes on.
        return isinstance(error, (Exception, SystemExit))

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        if value is not None and isawaitable(value):
            if iscoroutine(value):
                value.close()
            raise ConfigurationError(_mismatch(function))
        return value

    async def applies(self, hook: Hook, /, *args: Any, **kwargs: Any) -> bool:
        """Whether the conditions of ``hook`` hold."""
        return await _applies(self, hook, args, kwargs)

    async def enter(self, stack: AsyncExitStack, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:
        """Enter the generator ``function`` as a block of ``stack``; False if it ends without a ``yield``."""
        return await _enter(stack, self.around(function, *args, **kwargs))

    async def settle(self, value: Any) -> Any:
        return value

    async def blocking(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    @asynccontextmanager
    async def limited(self, seconds: float) -> AsyncIterator[None]:
        """A block that ``TimeUp`` ends after ``seconds``."""
        with timeouts.limited(seconds):
            yield

    def stoppable(self, delivery: object) -> AbstractContextManager[None]:  # noqa: ARG002
        """A block that ends when the job is cancelled, where that can be: nobody stops a thread."""
        return NOTHING

    def was_stopped(self, error: BaseException) -> bool:  # noqa: ARG002
        """Whether ``error`` is the end of such a block."""
        return False

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # no loop runs this coroutine

    async def locate(self, reference: identity.GlobalId) -> object:
        return identity.locate(reference)

    async def locate_tenant(self) -> None:
        current.locate_tenant()

    async def load_attributes(self) -> None:
        """They are located on first use."""

    async def locate_for_handlers(self) -> None:
        # A handler may be there for the very tenant that is gone: it has the id, and asks for no more.
        with suppress(TenancyError, ArgumentError):
            current.locate_tenant()

    def open_transaction(self, queue: Joins) -> Any:
        return transaction.scope(queue)

    def around(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        generator = function(*args, **kwargs)
        if isasyncgen(generator):
            raise ConfigurationError(_mismatch(function))
        return _entered(contextmanager(lambda: generator)())

    def session(self, job: Definition) -> AbstractAsyncContextManager[Any]:
        """The session of one attempt: its exit is the commit. None where there are none."""
        work = transaction.work()
        return NOTHING if work is None else self._session(job, work)

    @asynccontextmanager
    async def _session(self, job: Definition, work: transaction.Work) -> AsyncIterator[Any]:
        if not job.session:
            with work.without():
                yield None
        else:
            with work.session(kept_for=job.name if job.keeps_transaction else None) as session:
                yield session


class Awaiting:
    """How an async job does its I/O: with await, and in a thread where the other side can only block."""

    def is_failure(self, error: BaseException) -> bool:
        if isinstance(error, asyncio().CancelledError):
            # Of something that the job awaited, unless somebody cancels the job itself.
            return not asyncio().current_task().cancelling()
        return isinstance(error, (Exception, SystemExit))

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await self.settle(function(*args, **kwargs))

    async def applies(self, hook: Hook, /, *args: Any, **kwargs: Any) -> bool:
        return await _applies(self, hook, args, kwargs)

    async def enter(self, stack: AsyncExitStack, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:
        return await _enter(stack, self.around(function, *args, **kwargs))

    async def settle(self, value: Any) -> Any:
        return await value if isawaitable(value) else value

    async def blocking(self, function: Callable[..., T], *args: Any) -> T:
        result: T = await asyncio().to_thread(function, *args)
        return result

    @contextmanager
    def stoppable(self, delivery: object) -> Iterator[None]:
        stops_by = getattr(delivery, "stops_by", None)
        if stops_by is None:
            yield
            return
        task, loop = asyncio().current_task(), asyncio().get_running_loop()
        is_over = False

        def stop() -> None:
            if not is_over:  # on the loop, so that it cannot hit what comes after the block
                task.cancel()

        stops_by(lambda: loop.call_soon_threadsafe(stop))
        try:
            yield
        finally:
            is_over = True
            stops_by(None)

    def was_stopped(self, error: BaseException) -> bool:
        if not isinstance(error, asyncio().CancelledError):
            return False
        asyncio().current_task().uncancel()
        return True

    @asynccontextmanager
    async def limited(self, seconds: float) -> AsyncIterator[None]:
        limit = asyncio().timeout(seconds)
        try:
            async with limit:
                yield
        except asyncio().CancelledError:  # by somebody else
            raise
        except BaseException as error:
            if limit.expired():
                raise TimeUp from error
            raise
        if limit.expired():  # and the job has swallowed what cancelled it
            raise TimeUp

    async def sleep(self, seconds: float) -> None:
        await asyncio().sleep(seconds)

    async def locate(self, reference: identity.GlobalId) -> object:
        return await identity.alocate(reference)

    async def locate_tenant(self) -> None:
        await current.alocate_tenant()

    async def load_attributes(self) -> None:
        await current.aload_attributes()

    async def locate_for_handlers(self) -> None:
        with suppress(TenancyError, ArgumentError):
            await current.alocate_tenant()
        await current.aload_attributes()

    def open_transaction(self, queue: Joins) -> Any:
        return transaction.ascope(queue)

    def around(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        generator = function(*args, **kwargs)
        if isasyncgen(generator):
            return asynccontextmanager(lambda: generator)()
        return _entered(contextmanager(lambda: generator)())

    def session(self, job: Definition) -> AbstractAsyncContextManager[Any]:
        """The session of one attempt: its exit is the commit. None where there are none."""
        work = transaction.work()
        return NOTHING if work is None else self._session(job, work)

    @asynccontextmanager
    async def _session(self, job: Definition, work: transaction.Work) -> AsyncIterator[Any]:
        if not job.session:
            with work.without():
                yield None
        else:
            async with work.asession(kept_for=job.name if job.keeps_transaction else None) as session:
                yield session


Colour = Blocking | Awaiting


async def _applies(io: Colour, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if hook.if_ is not None and not await io.call(hook.if_, *args, **kwargs):
        return False
    return hook.unless is None or not await io.call(hook.unless, *args, **kwargs)


async def _enter(stack: AsyncExitStack, block: AbstractAsyncContextManager[Any]) -> bool:
    try:
        await stack.enter_async_context(block)
    except RuntimeError as error:
        if not never_yielded(error):
            raise
        return False
    return True


@asynccontextmanager
async def _entered(manager: Any) -> AsyncIterator[Any]:
    with manager as value:
        yield value


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a synchronous job awaited something: its hooks, guards and handlers must be synchronous")


def _mismatch(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", repr(function))
    return (
        f"{name} gave something to await, and nobody awaits in a synchronous job: declare the job with `async def`, or "
        f"that with `def`"
    )


def asyncio() -> Any:
    """The module; whoever runs an event loop has loaded it, and nobody else has to pay for it."""
    return import_module("asyncio")

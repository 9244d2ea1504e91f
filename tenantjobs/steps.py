"""Steps of a job that resumes: methods that are declared, and loops inside of ``perform``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar, overload

import msgspec

from tenantjobs import spelling
from tenantjobs.colours import Awaiting, Colour, drive
from tenantjobs.course import Course, current_course
from tenantjobs.cursor import AsyncCursor, Cursor
from tenantjobs.errors import StepError
from tenantjobs.parameters import is_async

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Option = str | Callable[..., Any]


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about a method that is a step."""

    isolated: bool
    if_: Option | None
    unless: Option | None
    on_error: Option | None
    start: Any


class StepLoop(Generic[T]):
    """What a ``for`` over ``step(...)`` goes through: once, or not at all if the step is done already."""

    def __init__(self, name: str, start: Any, isolated: bool) -> None:
        self._name = name
        self._start = start
        self._isolated = isolated

    def __iter__(self) -> Iterator[Cursor[T]]:
        course = self._course()
        course.refuse_blocking(f"for ... in step({self._name!r})", f"async for ... in step({self._name!r})")
        if drive(course.meets(self._name)):
            drive(course.enter(self._name, isolated=self._isolated))
            yield Cursor(course, self._name, self._start)
            drive(course.leave())

    async def __aiter__(self) -> AsyncIterator[AsyncCursor[T]]:
        course = self._course()
        if await course.meets(self._name):
            await course.enter(self._name, isolated=self._isolated)
            yield AsyncCursor(course, self._name, self._start)
            await course.leave()

    def _course(self) -> Course:
        return current_course(f"step({self._name!r})")


@overload
def step(name: str, /, *, start: T, isolated: bool = False) -> StepLoop[T]: ...
@overload
def step(name: str, /, *, isolated: bool = False) -> StepLoop[Any]: ...
@overload
def step(method: F, /) -> F: ...
@overload
def step(
    *,
    isolated: bool = False,
    if_: Option | None = None,
    unless: Option | None = None,
    on_error: Option | None = None,
    start: Any = None,
) -> Callable[[F], F]: ...
def step(
    target: Any = None,
    /,
    *,
    isolated: bool = False,
    if_: Option | None = None,
    unless: Option | None = None,
    on_error: Option | None = None,
    start: Any = None,
) -> Any:
    """A step of a job: what is completed is not repeated when the job is retried, interrupted or crashes.

    Over a method of a ``Job`` class, which ``run_steps`` runs: ``if_`` and ``unless`` leave it out, ``on_error`` is
    called with the arguments and ``error``, and then the job goes on. All three are names of methods, or callables that
    take the job first. Inside of ``perform``: ``for cursor in step("import", start=0):``, and ``async for`` in an async
    job. ``isolated`` gives it an execution, and so a transaction, of its own; ``start`` is where the cursor begins.
    """
    if isinstance(target, str):
        if not target:
            raise StepError("step(''): a step has a name")
        if if_ is not None or unless is not None or on_error is not None:
            raise StepError(
                f"step({target!r}) inside of perform has no if_, unless or on_error: write `if` and `try` there"
            )
        return StepLoop(target, start, isolated)
    declared = Declared(isolated=isolated, if_=if_, unless=unless, on_error=on_error, start=start)

    def decorate(method: Any) -> Any:
        if not inspect.isfunction(method):
            raise StepError(f"@step decorates methods of a Job class, not {method!r:.120}")
        method.__step__ = declared  # type: ignore[attr-defined]  # the method stays what it is
        return method

    return decorate if target is None else decorate(target)


def run(job: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the declared steps of ``job``; for an async one, the coroutine to await."""
    course = current_course(f"run_steps of {type(job).__qualname__}")
    steps = _declared(type(job))
    if not steps:
        raise StepError(f"run_steps: {type(job).__qualname__} has no steps: write @step over its methods")
    running = _run(course, job, steps, args, kwargs)
    return course.promise(running) if isinstance(course.io, Awaiting) else drive(running)


def check(cls: type) -> None:
    """``StepError`` if an option of a step of ``cls`` names no method."""
    for name, declared in _declared(cls).items():
        for option in ("if_", "unless", "on_error"):
            given = getattr(declared, option)
            where = f"job {cls.__qualname__}: @step({option}={given!r}) on {name}"
            if isinstance(given, str) and not callable(getattr(cls, given, None)):
                like = spelling.nearest(given, [each for each in dir(cls) if not each.startswith("__")])
                raise StepError(f"{where}: there is no such method" + (f"; did you mean {like}?" if like else ""))
            if given is not None and not isinstance(given, str) and not callable(given):
                raise StepError(f"{where}: the name of a method, or a callable, is wanted")


def _declared(cls: type) -> dict[str, Declared]:
    """In the order of their declaration, those of the base class first. What is declared again stays there."""
    return {
        name: value.__step__
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(getattr(value, "__step__", None), Declared)
    }


async def _run(
    course: Course, job: Any, steps: dict[str, Declared], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    for name, declared in steps.items():
        if not await course.meets(name):
            continue
        # Asked once: what a condition said holds for as long as the job is under way.
        if course.is_resumed_in(name) or await _applies(course.io, job, declared, args, kwargs):
            await course.enter(name, isolated=declared.isolated)
            await _perform(course, job, name, declared, args, kwargs)
            await course.leave()
        else:
            course.skip(name)


async def _applies(io: Colour, job: Any, declared: Declared, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if declared.if_ is not None and not await _call(io, job, declared.if_, args, kwargs):
        return False
    return declared.unless is None or not await _call(io, job, declared.unless, args, kwargs)


async def _perform(
    course: Course, job: Any, name: str, declared: Declared, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    method = getattr(job, name)
    given = dict(kwargs)
    if "cursor" in inspect.signature(method).parameters:
        given["cursor"] = _cursor(course, method, name, declared.start)
    try:
        await course.io.call(method, *args, **given)
    except BaseException as error:
        if declared.on_error is None or isinstance(error, StepError) or not course.io.is_failure(error):
            raise
        await course.roll_back()
        await _handle(course.io, job, declared.on_error, args, kwargs, error)


def _cursor(course: Course, method: Callable[..., Any], name: str, start: Any) -> Cursor[Any] | AsyncCursor[Any]:
    if isinstance(course.io, Awaiting):
        if not is_async(method):
            raise StepError(f"{course}: step {name!r} has a cursor, which an async job awaits: make it `async def`")
        return AsyncCursor(course, name, start)
    return Cursor(course, name, start)


async def _handle(
    io: Colour, job: Any, handler: Option, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException
) -> None:
    function = getattr(job, handler) if isinstance(handler, str) else handler
    if "error" in inspect.signature(function).parameters:
        await _call(io, job, handler, args, {**kwargs, "error": error})
    else:
        await _call(io, job, handler, (*args, error), kwargs)


async def _call(io: Colour, job: Any, option: Option, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if isinstance(option, str):
        return await io.call(getattr(job, option), *args, **kwargs)
    return await io.call(option, job, *args, **kwargs)

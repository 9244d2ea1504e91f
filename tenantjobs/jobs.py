"""The two ways to write a job, ``Job`` classes and ``@job`` functions, and the verbs that both have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from inspect import isfunction
from typing import Any, ClassVar, Generic, NoReturn, ParamSpec, Protocol, TypeVar, Unpack, overload

from tenantjobs import enqueuing, performing, spelling, steps
from tenantjobs.call import Call
from tenantjobs.current import Current
from tenantjobs.definition import (
    Definition,
    JobOptions,
    Tenancy,
    declared,
    default_name,
    refuse_unknown,
    register,
)
from tenantjobs.errors import ConfigurationError
from tenantjobs.handle import Handle
from tenantjobs.options import NO_OPTIONS, Options, options
from tenantjobs.policies import Policy, attach, own

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_CHOOSERS = ("choose_queue", "choose_priority")
# "name" is too short to be told from a user's own `fname` or `rename`.
_ATTRIBUTES = tuple(JobOptions.__annotations__.keys() - {"name"})


class Performs(Protocol[P, R_co]):
    """A class whose ``perform`` has these parameters: it gives the verbs of ``Job`` their exact types."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Job:
    """Base of jobs written as classes: declare options as attributes and write ``perform``.

    Each attempt gets an instance of its own. ``queue``, ``priority`` (lower runs sooner), ``tenancy``, ``session``,
    ``transactional`` (its completion commits with its work), ``enqueue_after_commit``, ``timeout`` (seconds or a
    timedelta, for one attempt), ``max_resumptions`` (of a job with steps) and ``keep_result`` (what it returns can be
    read) are inherited; ``name`` and ``aliases`` belong to the class that declares them. Methods ``choose_queue`` and
    ``choose_priority`` take the arguments; None leaves it to the attribute.
    """

    queue: ClassVar[str] = "default"
    priority: ClassVar[int] = 0
    tenancy: ClassVar[Tenancy | None] = None
    session: ClassVar[bool] = True
    transactional: ClassVar[bool] = False
    enqueue_after_commit: ClassVar[bool] = True
    timeout: ClassVar[float | timedelta | None] = None
    max_resumptions: ClassVar[int | None] = None
    keep_result: ClassVar[bool] = False
    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    policies: ClassVar[Sequence[Policy]] = ()

    __definition__: ClassVar[Definition]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _refuse_misspelt(cls)
        attach(cls, cls.__dict__.get("policies", ()))
        if cls.perform is not Job.perform:
            cls.name = cls.__dict__.get("name") or default_name(cls)
            steps.check(cls)
            cls.__definition__ = register(_definition_of_class(cls))

    def perform(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002  # any signature may override this one
        """The work itself."""
        raise ConfigurationError(f"{type(self).__qualname__} has no perform(): write what the job does there")

    def run_steps(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the methods that are declared as ``@step`` in their order, each with these arguments, from ``perform``.

        What an earlier execution has completed is left out. In an async job it gives a coroutine to await.
        """
        return steps.run(self, args, kwargs)

    @classmethod
    def call(cls: type[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The job with these arguments, for ``perform_all_later``."""
        return bound_call(definition_of(cls), args, kwargs)

    @classmethod
    def perform_later(cls: type[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the job; inside a transaction it leaves with the commit."""
        return enqueuing.enqueue(Call(definition_of(cls), args, kwargs))

    @classmethod
    def aperform_later(
        cls: type[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Handle]:
        """Enqueue the job without blocking the event loop."""
        return enqueuing.aenqueue(Call(definition_of(cls), args, kwargs))

    @classmethod
    def perform_now(cls: type[Performs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Perform the job here: hooks, guards and ``discard_on``; any other error is raised, nothing is retried."""
        result: R = performing.perform_now(Call(definition_of(cls), args, kwargs))
        return result

    @classmethod
    def set(
        cls: type[Performs[P, R]],
        *,
        wait: float | timedelta | None = None,
        wait_until: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> Configured[P, R]:
        """The job with options for one call: when, on which queue, how urgent (lower runs sooner)."""
        chosen = options(wait=wait, wait_until=wait_until, queue=queue, priority=priority)
        return Configured(definition_of(cls), chosen)


class JobFunction(Generic[P, R]):
    """A function that is also a job. Called bare, it is just the function."""

    def __init__(self, function: Callable[P, R], definition: Callable[[JobFunction[P, R]], Definition]) -> None:
        self.__wrapped__ = function
        self.__attach_to__ = function  # policies stacked above @job join those below it
        self.__name__ = getattr(function, "__name__", "job")
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__definition__ = register(definition(self))

    @property
    def name(self) -> str:
        """The stable name under which the job travels."""
        return self.__definition__.name

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.__wrapped__(*args, **kwargs)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The job with these arguments, for ``perform_all_later``."""
        return bound_call(self.__definition__, args, kwargs)

    def perform_later(self, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the job; inside a transaction it leaves with the commit."""
        return enqueuing.enqueue(Call(self.__definition__, args, kwargs))

    def aperform_later(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Handle]:
        """Enqueue the job without blocking the event loop."""
        return enqueuing.aenqueue(Call(self.__definition__, args, kwargs))

    def perform_now(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Perform the job here: hooks, guards and ``discard_on``; any other error is raised, nothing is retried."""
        result: R = performing.perform_now(Call(self.__definition__, args, kwargs))
        return result

    def set(
        self,
        /,
        *,
        wait: float | timedelta | None = None,
        wait_until: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> Configured[P, R]:
        """The job with options for one call: when, on which queue, how urgent (lower runs sooner)."""
        chosen = options(wait=wait, wait_until=wait_until, queue=queue, priority=priority)
        return Configured(self.__definition__, chosen)

    def __repr__(self) -> str:
        return f"<job {self.name}>"


class Configured(Generic[P, R]):
    """A job with the options of ``set(...)``."""

    __slots__ = ("__definition__", "__options__")

    def __init__(self, definition: Definition, options: Options = NO_OPTIONS) -> None:
        self.__definition__ = definition
        self.__options__ = options

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The job with these arguments and options, for ``perform_all_later``."""
        return bound_call(self.__definition__, args, kwargs, self.__options__)

    def perform_later(self, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the job with these options."""
        return enqueuing.enqueue(Call(self.__definition__, args, kwargs, self.__options__))

    def aperform_later(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Handle]:
        """Enqueue the job with these options, without blocking the event loop."""
        return enqueuing.aenqueue(Call(self.__definition__, args, kwargs, self.__options__))

    def perform_now(self, /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:  # noqa: ARG002  # refused as it stands
        """Refused: ``set(...)`` is about the queue, and ``perform_now`` uses none."""
        raise ConfigurationError(
            f"{self.__definition__.name}.set(...).perform_now(...): a queue, a priority or a wait means nothing to a "
            f"job that is performed at once; leave set(...) out, or write perform_later"
        )


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**options: Unpack[JobOptions]) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(function: Callable[..., Any] | None = None, /, **given: Any) -> Any:
    """Make a function, sync or async, a job. ``policies`` may also be stacked as decorators."""
    refuse_unknown(given, JobOptions.__annotations__, "@job")
    name, policies = given.pop("name", None), given.pop("policies", ())

    def decorate(function: Callable[..., Any]) -> JobFunction[..., Any]:
        _refuse_no_function(function)
        attach(function, policies)
        return JobFunction(
            function,
            lambda made: Definition(
                name=default_name(function) if name is None else name,
                source=made,
                function=function,
                parameters=function,
                levels=lambda: [own(function)],
                **given,
            ),
        )

    return decorate if function is None else decorate(function)


def perform_all_later(calls: Iterable[Call]) -> list[Handle]:
    """Enqueue many jobs, of any kind, in one round trip where the adapter can; a handle for each, in order."""
    return enqueuing.enqueue_all(_checked(calls))


def aperform_all_later(calls: Iterable[Call]) -> Coroutine[Any, Any, list[Handle]]:
    """The same, without blocking the event loop."""
    return enqueuing.aenqueue_all(_checked(calls))


def definition_of(target: Any) -> Definition:
    """The definition behind a job class, a job function or a ``_later`` method."""
    found = getattr(target, "__definition__", None)
    if not isinstance(found, Definition):
        raise ConfigurationError(f"{target!r} is no job: decorate a function with @job, or subclass Job")
    return found


def bound_call(
    definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options = NO_OPTIONS
) -> Call:
    """A call to be enqueued by somebody else, perhaps among many: what does not fit is refused here, where it is."""
    definition.binding.bind(args, kwargs)
    made_in = Current.capture()
    return Call(definition, args, kwargs, options, made_in if made_in.scope != "unset" else None)


def _checked(calls: Iterable[Call]) -> list[Call]:
    found = list(calls)
    given: list[object] = list(found)  # whatever they were declared as, they are looked at
    for each in given:
        if not isinstance(each, Call):
            hint = "write .call(...) with its arguments" if hasattr(each, "__definition__") else "make it a job first"
            raise ConfigurationError(f"perform_all_later takes calls of jobs, not {each!r:.120}: {hint}")
    return found


def _refuse_no_function(function: Any) -> None:
    if isinstance(function, Policy):
        name = type(function).__name__
        raise ConfigurationError(
            f"{name} stands under @job without brackets, and has taken the function for its own: write @{name}(...)"
        )
    if isinstance(function, type):
        raise ConfigurationError(f"@job decorates functions, not the class {function.__qualname__}: subclass Job")
    if isinstance(function, classmethod | staticmethod) or not callable(function):
        raise ConfigurationError(f"@job decorates functions, not {function!r}; for methods there is @later")
    if not hasattr(function, "__qualname__"):
        raise ConfigurationError(
            f"@job decorates functions, and {function!r:.120} has no name that a worker could find it by: write a "
            f"function around it"
        )
    outer, _, _ = function.__qualname__.rpartition(".")
    first = next(iter(inspect.signature(function).parameters), "")
    if outer and not outer.endswith("<locals>") and first in ("self", "cls"):
        raise ConfigurationError(
            f"@job on the method {function.__qualname__} would lose its {first}: decorate methods of models with "
            f"@later, or write a Job class"
        )


def _refuse_misspelt(cls: type[Job]) -> None:
    for attribute, value in cls.__dict__.items():
        if attribute.startswith("_") or attribute in _ATTRIBUTES or attribute.removesuffix("s") in _ATTRIBUTES:
            continue  # a plural is a name of the user's own
        # A method may be called anything, but what looks like one of ours would never be asked.
        like = spelling.nearest(attribute, _CHOOSERS if isfunction(value) else _ATTRIBUTES, cutoff=0.8)
        if like and not hasattr(Job, attribute):
            raise ConfigurationError(
                f"job {cls.__qualname__}: {attribute} is not an option; did you mean {like}? An attribute of your own "
                f"needs a name that is further from it"
            )


def _declared_by(base: type) -> tuple[Policy, ...]:
    """What a class declares, on itself or on the ``perform`` that it writes."""
    return (*declared(base), *own(base.__dict__.get("perform")))


def _definition_of_class(cls: type[Job]) -> Definition:
    return Definition(
        name=cls.name,
        source=cls,
        function=lambda job, /, *args, **kwargs: job.perform(*args, **kwargs),
        parameters=cls.perform,
        leading=lambda: (cls(),),
        has_object=True,
        levels=lambda: [_declared_by(base) for base in cls.__mro__],
        aliases=cls.__dict__.get("aliases", ()),
        queue=cls.queue,
        priority=cls.priority,
        tenancy=cls.tenancy,
        session=cls.session,
        transactional=cls.transactional,
        enqueue_after_commit=cls.enqueue_after_commit,
        choose_queue=getattr(cls, "choose_queue", None),
        choose_priority=getattr(cls, "choose_priority", None),
        timeout=cls.timeout,
        max_resumptions=cls.max_resumptions,
        keep_result=cls.keep_result,
    )

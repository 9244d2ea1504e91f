"""The convention of models: ``deliver`` does it, ``deliver_later`` enqueues it, ``deliver_now`` is its other name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from inspect import isfunction
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from tenantjobs import enqueuing, performing
from tenantjobs.definition import Definition, Tenancy, default_name, register
from tenantjobs.enqueuing import NO_OPTIONS, Call, Options
from tenantjobs.errors import ConfigurationError
from tenantjobs.handle import Handle
from tenantjobs.policies import Policy, attach, own

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Method:
    """A method that is a job, bound by name, so that a subclass's override is what runs."""

    def __init__(
        self, function: Callable[..., Any], name: str | None, policies: Sequence[Policy], options: dict[str, Any]
    ) -> None:
        if not isfunction(function):
            raise ConfigurationError(f"@later decorates methods that take a record, sync or async, not {function!r}")
        self.function = function
        self.__attach_to__ = function  # policies stacked above @later join those below it
        attach(function, policies)
        method = function.__name__
        # Registered here rather than when the class is made: a mistake is raised as what it is.
        self.definition = register(
            Definition(
                name=name or default_name(function),
                source=function,
                function=lambda record, /, *args, **kwargs: getattr(record, method)(*args, **kwargs),
                parameters=function,
                levels=lambda: [own(function)],
                **options,
            )
        )

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self.function)
        self.plant(owner)

    def plant(self, owner: type) -> None:
        """Put the other names of the method beside it, where the class has not written them itself."""
        name = self.function.__name__
        for planted, descriptor in (
            (f"{name}_later", Later(self)),
            (f"{name}_now", Now(self)),
            (f"a{name}_later", ALater(self)),
        ):
            if planted not in owner.__dict__:
                setattr(owner, planted, descriptor)


class Later(Generic[S, P, R]):
    """``record.deliver_later(...)``, ``.set(...)(...)``, and ``Model.deliver_later.all(records)``."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.__attach_to__ = method.function

    def __set_name__(self, owner: type, name: str) -> None:
        if name == self._method.function.__name__:  # `@later` without parentheses: it stands in the method's place
            self._method.__set_name__(owner, name)
        else:
            self._method.plant(owner)

    @overload
    def __get__(self, record: None, owner: type[Any]) -> UnboundLater[S, P]: ...
    @overload
    def __get__(self, record: S, owner: type[Any]) -> BoundLater[P]: ...
    def __get__(self, record: Any, owner: type[Any]) -> Any:
        definition = self._method.definition
        return UnboundLater(definition) if record is None else BoundLater(definition, record)


class BoundLater(Generic[P]):
    """The enqueuing half of one record's method."""

    __slots__ = ("__definition__", "_options", "_record")

    def __init__(self, definition: Definition, record: object, options: Options = NO_OPTIONS) -> None:
        self.__definition__ = definition
        self._record = record
        self._options = options

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the method with this record; inside a transaction it leaves with the commit."""
        return enqueuing.enqueue(self.call(*args, **kwargs))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The method with this record, for ``perform_all_later``."""
        return Call(self.__definition__, (self._record, *args), kwargs, self._options)

    def set(
        self,
        /,
        *,
        wait: float | timedelta | None = None,
        wait_until: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> BoundLater[P]:
        """The same with options for one call."""
        chosen = enqueuing.options(wait=wait, wait_until=wait_until, queue=queue, priority=priority)
        return BoundLater(self.__definition__, self._record, chosen)


class UnboundLater(Generic[S, P]):
    """The enqueuing half of a model's method, for many records."""

    __slots__ = ("__definition__",)

    def __init__(self, definition: Definition) -> None:
        self.__definition__ = definition

    def __call__(self, record: S, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the method for ``record``."""
        return enqueuing.enqueue(Call(self.__definition__, (record, *args), kwargs))

    def call(self, record: S, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The method for ``record``, for ``perform_all_later``."""
        return Call(self.__definition__, (record, *args), kwargs)

    def all(self, records: Iterable[S], /, *args: P.args, **kwargs: P.kwargs) -> list[Handle]:
        """Enqueue the method for every record, in one round trip where the adapter can."""
        return enqueuing.enqueue_all([Call(self.__definition__, (record, *args), kwargs) for record in records])


class ALater:
    """``await record.adeliver_later(...)``."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __get__(self, record: Any, owner: type[Any]) -> Callable[..., Awaitable[Handle]]:
        definition = self._method.definition

        def enqueue_async(*args: Any, **kwargs: Any) -> Awaitable[Handle]:
            given = args if record is None else (record, *args)
            return enqueuing.aenqueue(Call(definition, given, kwargs))

        return enqueue_async


class Now:
    """``record.deliver_now(...)``: hooks, guards and ``discard_on`` around the bare method."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __get__(self, record: Any, owner: type[Any]) -> Callable[..., Any]:
        definition = self._method.definition

        def perform_now(*args: Any, **kwargs: Any) -> Any:
            given = args if record is None else (record, *args)
            return performing.perform_now(Call(definition, given, kwargs))

        return perform_now


@overload
def later(method: Callable[Concatenate[S, P], R], /) -> Later[S, P, R]: ...
@overload
def later(
    *,
    name: str | None = None,
    aliases: Iterable[str] = (),
    queue: str = "default",
    priority: int = 0,
    tenancy: Tenancy | None = None,
    session: bool = True,
    enqueue_after_commit: bool = True,
    choose_queue: Callable[..., str] | None = None,
    policies: Sequence[Policy] = (),
) -> Callable[[F], F]: ...
def later(method: Any = None, /, *, name: str | None = None, policies: Sequence[Policy] = (), **options: Any) -> Any:
    """Make a method a job, under the names of the convention.

    ``@later(queue=...)`` over ``def deliver(self)`` plants ``deliver_later``, ``deliver_now``, ``adeliver_later`` and
    leaves ``deliver`` the bare method. The line ``deliver_later = later(deliver)`` under it says the same to type
    checkers; alone, it does the same with the default options. The record travels as a reference, loaded fresh.
    """
    if method is None:
        return lambda function: Method(function, name, policies, options)
    return Later(method if isinstance(method, Method) else Method(method, name, policies, options))

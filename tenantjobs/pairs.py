"""What ``@later`` puts beside a method: ``deliver_later``, ``adeliver_later`` and ``deliver_now``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from tenantjobs import enqueuing, performing
from tenantjobs.call import Call
from tenantjobs.definition import Definition
from tenantjobs.handle import Handle
from tenantjobs.jobs import bound_call
from tenantjobs.options import NO_OPTIONS, Options, options

C = TypeVar("C")
S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


class JobMethod(Protocol):
    """The method behind the pair."""

    __attach_to__: Callable[..., Any]

    @property
    def takes_record(self) -> bool: ...
    def definition_for(self, cls: type) -> Definition: ...


class Pair:
    """A descriptor: bound to a record, or to the class for methods of the class and for many records."""

    def __init__(self, method: JobMethod) -> None:
        self.method = method
        self.__attach_to__ = method.__attach_to__

    def bound(self, record: object | None, owner: type) -> tuple[Definition, tuple[object, ...] | None]:
        """The job, and the arguments in front of the caller's: the record, nothing, or None if it is still to come."""
        definition = self.method.definition_for(owner if record is None else type(record))
        if not self.method.takes_record:
            return definition, ()
        return definition, None if record is None else (record,)

    def of(self, record: object, owner: type) -> Definition:
        """The job for a record that was passed: that of its own class. TypeError if it is none of ``owner``."""
        if not isinstance(record, owner):
            raise TypeError(
                f"job {self.method.definition_for(owner).name}: the record comes first, and {record!r:.80} is no "
                f"{owner.__qualname__}"
            )
        found: Bound = getattr(record, f"{self.__attach_to__.__name__}_later")
        return found.__definition__


class Later(Pair, Generic[S, P, R]):
    """``record.deliver_later(...)``, ``.set(...)(...)``, and ``Model.deliver_later.all(records)``."""

    # Checkers see a class method as a function of the class.
    @overload
    def __get__(self: Later[type[C], P, R], record: C | None, owner: type[C]) -> BoundLater[P]: ...
    @overload
    def __get__(self, record: None, owner: type[Any]) -> UnboundLater[S, P]: ...
    @overload
    def __get__(self, record: S, owner: type[Any]) -> BoundLater[P]: ...
    def __get__(self, record: Any, owner: type[Any]) -> Any:
        definition, first = self.bound(record, owner)
        return UnboundLater(definition, self, owner) if first is None else BoundLater(definition, first)


class ClassLater(Pair):
    """The same of a method that takes no record: ``Model.sweep_later(...)``, ``Model.sweep_later.set(...)(...)``."""

    def __get__(self, record: object, owner: type[Any]) -> BoundLater[...]:
        definition, first = self.bound(record, owner)
        return BoundLater(definition, first or ())


class ALater(Pair):
    """``await record.adeliver_later(...)``, with the same ``.set(...)`` and ``.all(records)``."""

    def __get__(self, record: Any, owner: type[Any]) -> Any:
        definition, first = self.bound(record, owner)
        return AUnboundLater(definition, self, owner) if first is None else ABoundLater(definition, first)


class Now(Pair):
    """``record.deliver_now(...)``: hooks, guards and ``discard_on`` around the bare method."""

    def __get__(self, record: Any, owner: type[Any]) -> Callable[..., Any]:
        definition, first = self.bound(record, owner)

        def perform_now(*args: Any, **kwargs: Any) -> Any:
            given = args if first is None else (*first, *args)
            job = self.of(given[0], owner) if first is None and given else definition
            return performing.perform_now(Call(job, given, kwargs))

        return perform_now


class Bound:
    """A job whose record, if it takes one, is known."""

    __slots__ = ("__definition__", "_first", "_options")

    def __init__(self, definition: Definition, first: tuple[object, ...], options: Options = NO_OPTIONS) -> None:
        self.__definition__ = definition
        self._first = first
        self._options = options

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(self.__definition__, (*self._first, *args), kwargs, self._options)

    def __repr__(self) -> str:
        return f"<{self.__definition__.name} to be enqueued>"


class BoundLater(Bound, Generic[P]):
    """The enqueuing half of one record's method, or of a method of the class."""

    __slots__ = ()

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the method; inside a transaction it leaves with the commit."""
        return enqueuing.enqueue(self._call(args, kwargs))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The method with these arguments, for ``perform_all_later``."""
        return bound_call(self.__definition__, (*self._first, *args), kwargs, self._options)

    def set(
        self,
        /,
        *,
        wait: float | timedelta | None = None,
        wait_until: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> BoundLater[P]:
        """The same with options for one call; those of an earlier ``set(...)`` stay."""
        chosen = options(self._options, wait=wait, wait_until=wait_until, queue=queue, priority=priority)
        return BoundLater(self.__definition__, self._first, chosen)


class ABoundLater(Bound):
    """The same, to be awaited."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Handle]:
        return enqueuing.aenqueue(self._call(args, kwargs))

    def set(self, /, **given: Any) -> ABoundLater:
        return ABoundLater(self.__definition__, self._first, options(self._options, **given))


class Unbound:
    """A job whose records are still to come."""

    __slots__ = ("__definition__", "_options", "_owner", "_pair")

    def __init__(self, definition: Definition, pair: Pair, owner: type, options: Options = NO_OPTIONS) -> None:
        self.__definition__ = definition
        self._pair = pair
        self._owner = owner
        self._options = options

    def _call(self, record: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(self._pair.of(record, self._owner), (record, *args), kwargs, self._options)

    def _calls(self, records: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Call]:
        return [self._call(record, args, kwargs) for record in records]

    def __repr__(self) -> str:
        return f"<{self.__definition__.name} to be enqueued>"


class UnboundLater(Unbound, Generic[S, P]):
    """The enqueuing half of a model's method, for many records."""

    __slots__ = ()

    def __call__(self, record: S, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Enqueue the method for ``record``."""
        return enqueuing.enqueue(self._call(record, args, kwargs))

    def call(self, record: S, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The method for ``record``, for ``perform_all_later``."""
        return bound_call(self._pair.of(record, self._owner), (record, *args), kwargs, self._options)

    def all(self, records: Iterable[S], /, *args: P.args, **kwargs: P.kwargs) -> list[Handle]:
        """Enqueue the method for every record, in one round trip where the adapter can."""
        return enqueuing.enqueue_all(self._calls(records, args, kwargs))

    def aall(self, records: Iterable[S], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, list[Handle]]:
        """The same, without blocking the event loop."""
        return enqueuing.aenqueue_all(self._calls(records, args, kwargs))

    def set(
        self,
        /,
        *,
        wait: float | timedelta | None = None,
        wait_until: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> UnboundLater[S, P]:
        """The same with options for what is enqueued by it."""
        chosen = options(self._options, wait=wait, wait_until=wait_until, queue=queue, priority=priority)
        return UnboundLater(self.__definition__, self._pair, self._owner, chosen)


class AUnboundLater(Unbound):
    """The same, to be awaited."""

    __slots__ = ()

    def __call__(self, record: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Handle]:
        return enqueuing.aenqueue(self._call(record, args, kwargs))

    def all(self, records: Iterable[Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, list[Handle]]:
        return enqueuing.aenqueue_all(self._calls(records, args, kwargs))

    def set(self, /, **given: Any) -> AUnboundLater:
        return AUnboundLater(self.__definition__, self._pair, self._owner, options(self._options, **given))

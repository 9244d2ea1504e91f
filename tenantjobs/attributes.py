"""The attributes of Current classes, and how their values travel."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_type_hints

from tenantjobs import arguments, identity
from tenantjobs.errors import ArgumentError, SerializationError
from tenantjobs.identity import GlobalId
from tenantjobs.scopes import in_force

T = TypeVar("T")


def attribute(*, default: T, load: bool = False, carried: bool = True) -> T:
    """An attribute of a ``Current`` class with more than a default.

    ``load``: the value is a record; it travels as a reference, and is awaited before an async job starts.
    ``carried=False``: it does not travel at all, and has its default in jobs.
    """
    return cast(T, Attribute(default, load=load, carried=carried))


class Attribute:
    """One attribute, as the class that declares it holds it: reading it reads what is in force."""

    __slots__ = (
        "_types",
        "annotation",
        "carried",
        "declared_by",
        "default",
        "load",
        "module",
        "name",
        "qualname",
    )

    def __init__(self, default: object, *, load: bool = False, carried: bool = True) -> None:
        self.default = default
        self.load = load
        self.carried = carried
        self.name = self.module = self.qualname = ""
        self.annotation: object = None
        self.declared_by: weakref.ref[type] | None = None
        self._types: Mapping[str, type] | None = None

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        value = in_force().values.get(self.name, self)
        if value is self:
            return self.default
        elif type(value) is Received:
            return self._opened(value)
        else:
            return value

    def packed(self, value: object) -> arguments.Tree:
        """The value as it travels; ``SerializationError`` if it cannot."""
        if self.load and value is not None and not isinstance(identity.identify(value), GlobalId):
            raise SerializationError(
                f"Current.{self.name} travels as a reference, by load=True, and this {type(value).__qualname__} has no "
                "name to be found by: save it before the job is enqueued, or check that a locator knows its class"
            )
        try:
            return arguments.encode(value, what=f"Current.{self.name}")
        except SerializationError as error:
            raise SerializationError(f"{error}; or declare it with attribute(carried=False)") from error

    async def aload(self, received: Received) -> None:
        """Await the records of a value. What is gone or unavailable is raised where the value is used."""
        try:
            references = arguments.references(received.tree, f"Current.{self.name}")
            records = {gid: await identity.alocate(gid) for gid in references}
            received.value = arguments.decode(
                received.tree, self._known_types(), locate=records.__getitem__, what=f"Current.{self.name}"
            )
        except ArgumentError as error:
            received.error = error

    def _opened(self, received: Received) -> Any:
        if not self.carried:  # it was, where this comes from
            return self.default
        elif received.error is not None:
            raise received.error
        elif received.value is _CLOSED:
            received.value = arguments.decode(received.tree, self._known_types(), what=f"Current.{self.name}")
        return received.value

    def _known_types(self) -> Mapping[str, type]:
        if self._types is None:
            self._types = arguments.types_of([resolved(self.annotation, self.module)])
        return self._types


class Received:
    """A value that has travelled; it is opened on first use."""

    __slots__ = ("error", "tree", "value")

    def __init__(self, tree: arguments.Tree) -> None:
        self.tree = tree
        self.value: object = _CLOSED
        self.error: ArgumentError | None = None


def resolved(annotation: object, module: str) -> object:
    """The annotation as an object; None if a name in it exists for type checkers only."""
    try:
        return get_type_hints(type("_", (), {"__annotations__": {"it": annotation}, "__module__": module}))["it"]
    except Exception:  # whatever evaluating an annotation may raise
        return None


_CLOSED = object()

"""Values as JSON trees: the walk through containers, classes and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, Flag
from types import FunctionType, GeneratorType
from typing import Any
from uuid import UUID

import msgspec

from tenantjobs import identity
from tenantjobs.codec.classes import NO_TYPES, fields_of, path_of, require_findable, shape_of
from tenantjobs.codec.scalars import (
    DEEPEST,
    RECORD,
    TAG,
    WRITERS,
    Refused,
    Tree,
    kind_of,
    write_int,
    write_text,
    write_uuid,
)
from tenantjobs.errors import SerializationError
from tenantjobs.identity import GlobalId, PendingRecord


class Writer:
    """Copies values into trees, and remembers the records that it met.

    ``types`` are classes that the reader will know although it could not find them by name.
    """

    def __init__(self, types: Mapping[str, type] = NO_TYPES) -> None:
        self.records: list[object] = []
        self.pending: list[tuple[str, dict[str, Tree], PendingRecord]] = []
        self._types = types
        self._around: set[int] = set()
        self._what = ""

    def tree(self, value: object, what: str) -> Tree:
        """The tree of a value; ``SerializationError`` says where in ``what`` there is something that cannot travel."""
        self._what = what
        try:
            return self._write(value)
        except Refused as refused:
            raise SerializationError(f"{what}{refused.path} {refused.problem}") from refused.__cause__
        except RecursionError:
            raise SerializationError(f"{what} is nested too deep for the stack: pass flatter data") from None

    def resolve(self) -> None:
        """Give the pending records in the trees their keys; ``SerializationError`` if one has none even now."""
        for what, tree, record in self.pending:
            try:
                tree[RECORD] = str(record.resolve())
            except SerializationError as error:
                raise SerializationError(f"{what} cannot travel: {error}") from error
        self.pending = []

    def _write(self, value: object) -> Tree:
        kind = type(value)
        write = WRITERS.get(kind)
        if write is not None:
            return write(value)
        write_all = _CONTAINERS.get(kind)
        if write_all is not None:
            return self._inside(value, value, write_all)
        elif isinstance(value, Enum):
            return self._enum(value)
        else:
            return self._record(value) or self._object(value)

    def _inside(self, value: object, content: object, write_all: Callable[[Writer, Any], Tree]) -> Tree:
        if id(value) in self._around:
            raise Refused("contains itself: pass plain data that ends somewhere")
        if len(self._around) == DEEPEST:
            raise Refused(f"is nested more than {DEEPEST} levels deep: pass flatter data, or store it and pass its key")
        self._around.add(id(value))
        tree = write_all(self, content)
        self._around.discard(id(value))
        return tree

    def _part(self, value: object, step: str, name: object) -> Tree:
        try:
            return self._write(value)
        except Refused as refused:
            refused.within(step.format(name))
            raise

    def _list(self, value: list[object] | tuple[object, ...]) -> list[Tree]:
        return [self._part(item, "[{}]", index) for index, item in enumerate(value)]

    def _tuple(self, value: tuple[object, ...]) -> Tree:
        return {"$tuple": self._list(value)}

    def _set(self, value: set[object]) -> Tree:
        # In the order of their text, so that the same set is the same message in every process.
        return {"$set": sorted((self._part(item, "{{{!r}}}", item) for item in value), key=msgspec.json.encode)}

    def _dict(self, value: dict[object, object]) -> Tree:
        if all(type(key) is str and not key.startswith(TAG) for key in value):
            return {write_text(str(key)): self._part(item, "[{!r}]", key) for key, item in value.items()}
        else:
            return {
                "$dict": [
                    [self._part(key, " (key {!r})", key), self._part(item, "[{!r}]", key)]
                    for key, item in value.items()
                ]
            }

    def _enum(self, value: Enum) -> Tree:
        kind = type(value)
        require_findable(kind, self._types)
        if isinstance(value, Flag):
            return {"$enum": [path_of(kind), write_int(value.value)]}
        elif kind.__members__.get(value.name) is value:
            return {"$enum": [path_of(kind), write_text(value.name)]}
        else:
            raise Refused(f"is {value!r}, a member that {path_of(kind)} does not list: pass its value")

    def _record(self, value: object) -> dict[str, Tree] | None:
        try:
            found = identity.identify(value)
        except SerializationError as error:
            raise Refused(f"cannot travel: {error}") from error
        if found is None:
            return None
        self.records.append(value)
        if isinstance(found, GlobalId):
            return {RECORD: str(found)}
        tree: dict[str, Tree] = {RECORD: None}
        self.pending.append((self._what, tree, found))
        return tree

    def _object(self, value: object) -> Tree:
        kind: Any = type(value)
        if isinstance(value, UUID):  # drivers have a UUID class of their own, which is the same value
            return write_uuid(value)
        # A mapped class that no locator knows must not travel by its columns, even if it is a dataclass too.
        shape = None if hasattr(kind, "__mapper__") else shape_of(kind)
        if shape is None:
            raise Refused(f"is of type {kind_of(value)}, which cannot travel: {_advice(value)}")
        require_findable(kind, self._types)
        return {shape.tag: [path_of(kind), self._inside(value, fields_of(value, shape), Writer._fields)]}

    def _fields(self, fields: dict[str, object]) -> Tree:
        return {name: self._part(value, ".{}", name) for name, value in fields.items()}


def _advice(value: object) -> str:
    for kind in (*WRITERS, *_CONTAINERS):
        if isinstance(value, kind):
            return f"it would come back as another type, so convert it to a plain {kind.__name__}"
    if isinstance(value, frozenset):
        return "pass a set"
    elif isinstance(value, (bytearray, memoryview)):
        return "pass bytes"
    elif isinstance(value, (GeneratorType, range, Mapping)):
        return "pass a list or a dict"
    elif isinstance(value, (type, FunctionType)):
        return "pass its name"
    else:
        return (
            "pass plain values, a dataclass, a msgspec Struct or the key of a stored record; a mapped record travels "
            "by reference after tenantjobs_sqlalchemy.install(...)"
        )


_CONTAINERS: dict[type, Callable[[Writer, Any], Tree]] = {
    list: Writer._list,
    tuple: Writer._tuple,
    set: Writer._set,
    dict: Writer._dict,
}

"""JSON trees as values again, with their exact types; nothing is imported and no record is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, Flag
from itertools import chain
from typing import Any

from tenantjobs.codec.classes import build, find, shape_of
from tenantjobs.codec.scalars import DEEPEST, READERS, RECORD, TAG, listed, text, whole
from tenantjobs.errors import ArgumentError
from tenantjobs.identity import GlobalId


class Reader:
    """Makes values of trees, with classes of ``types`` or of imported modules, and with ``records`` by their names."""

    def __init__(self, types: Mapping[str, type], records: Mapping[GlobalId, object]) -> None:
        self._types = types
        self._records = records
        self._depth = 0

    def value(self, tree: object, what: str) -> Any:
        """The value of a tree; ``ArgumentError`` if it cannot be made here."""
        try:
            return self._read(tree)
        except MemoryError:
            raise
        except Exception as error:  # constructors and hashes of the user's classes may raise anything
            raise ArgumentError(f"{what} cannot be read: {type(error).__name__}: {error!s:.300}") from error

    def _read(self, tree: object) -> object:
        if isinstance(tree, list):
            return self._all(tree)
        elif isinstance(tree, dict):
            return self._tagged(tree)
        else:
            return tree

    def _tagged(self, tree: dict[str, object]) -> object:
        tag, content = next(iter(tree.items())) if len(tree) == 1 else ("", None)
        if not tag.startswith(TAG):
            return self._plain(tree)
        elif tag in READERS:
            return READERS[tag](content)
        elif tag in _COMPOUNDS:
            return _COMPOUNDS[tag](self, content)
        else:
            raise ValueError(f"{tag!r} is not a kind of value that this version knows")

    def _plain(self, tree: dict[str, object]) -> dict[str, object]:
        if any(key.startswith(TAG) for key in tree):
            raise ValueError(f"the keys {list(tree)!r:.80} mix a tag with others")
        return self._fields(tree)

    def _fields(self, tree: dict[str, object]) -> dict[str, object]:
        return dict(zip(tree, self._all(tree.values()), strict=True))

    def _all(self, trees: Iterable[object]) -> list[object]:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        values = [self._read(tree) for tree in trees]
        self._depth -= 1
        return values

    def _tuple(self, content: object) -> object:
        return tuple(self._all(listed(content)))

    def _set(self, content: object) -> object:
        return set(self._all(listed(content)))

    def _dict(self, content: object) -> object:
        both = self._all(chain.from_iterable(listed(pair, 2) for pair in listed(content)))
        return dict(zip(both[::2], both[1::2], strict=True))

    def _enum(self, content: object) -> object:
        path, member = listed(content, 2)
        kind = find(text(path), self._types)
        if issubclass(kind, Flag):
            return kind(whole(self._read(member)))
        elif issubclass(kind, Enum):
            return kind.__members__[text(member)]
        else:
            raise ValueError(f"{path} is not an Enum in this process")

    def _dataclass(self, content: object) -> object:
        return self._built("$dataclass", content)

    def _struct(self, content: object) -> object:
        return self._built("$struct", content)

    def _built(self, tag: str, content: object) -> object:
        path, fields = listed(content, 2)
        kind = find(text(path), self._types)
        shape = shape_of(kind)
        if shape is None or shape.tag != tag:
            raise ValueError(f"{path} is not a {tag.removeprefix(TAG)} in this process")
        if not isinstance(fields, dict):
            raise ValueError(f"the fields of {path} are an object, not {fields!r:.80}")
        return build(kind, shape, self._fields(fields))

    def _record(self, content: object) -> object:
        return self._records[GlobalId.parse(text(content))]


def references(tree: object, what: str = "the value") -> tuple[GlobalId, ...]:
    """The records that a tree names, each once, in their order. ``ArgumentError`` for a name that is none."""
    try:
        return tuple(_named(tree))
    except ValueError as error:
        raise ArgumentError(f"{what} cannot be read: {error}") from error


def _named(tree: object) -> dict[GlobalId, None]:
    found: dict[GlobalId, None] = {}
    waiting = [tree]
    while waiting:  # no recursion: nobody has looked yet how deep the tree is
        here = waiting.pop()
        if isinstance(here, list):
            waiting.extend(reversed(here))
        elif isinstance(here, dict):
            if RECORD in here:
                found[GlobalId.parse(text(here[RECORD]))] = None
            waiting.extend(reversed(here.values()))
    return found


_COMPOUNDS: dict[str, Callable[[Reader, object], object]] = {
    "$tuple": Reader._tuple,
    "$set": Reader._set,
    "$dict": Reader._dict,
    "$enum": Reader._enum,
    "$dataclass": Reader._dataclass,
    "$struct": Reader._struct,
    RECORD: Reader._record,
}

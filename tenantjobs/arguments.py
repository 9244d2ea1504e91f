"""The arguments of a job on their way: frozen at the call, sealed as JSON text, thawed in the worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tenantjobs import identity
from tenantjobs.binding import Binding
from tenantjobs.codec.classes import NO_TYPES, types_of
from tenantjobs.codec.reader import Reader, references
from tenantjobs.codec.scalars import Tree
from tenantjobs.codec.writer import Writer
from tenantjobs.errors import ArgumentError
from tenantjobs.identity import GlobalId

__all__ = ["Frozen", "Thawed", "Tree", "decode", "encode", "freeze", "references", "thaw", "types_of"]

_PLAIN = frozenset({str, bool, type(None)})


def freeze(
    binding: Binding, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, types: Mapping[str, type] = NO_TYPES
) -> Frozen:
    """The arguments of a call, copied now.

    ``TypeError`` if they do not fit the parameters, ``SerializationError`` for a value that cannot travel; it names the
    job, the place (``items[3].price``) and the type. The same call gives the same text, by position or by keyword.
    ``types`` are classes that the worker will know by the job's annotations, see ``types_of``.
    """
    args, kwargs = binding.bind(args, kwargs)
    text = _plain_text(args, kwargs)
    if text is not None:
        return Frozen(text)
    writer = Writer(types)
    what = f"job {binding.job}: argument"
    trees = [writer.tree(value, f"{what} {name}") for name, value in binding.named(args)]
    keywords = {name: writer.tree(value, f"{what} {name}") for name, value in kwargs.items()}
    writer.tree(list(keywords), f"job {binding.job}: the names of the arguments")
    return Frozen((trees, keywords), writer)


class Frozen:
    """The arguments of one call, as they were at the call."""

    __slots__ = ("_content", "_writer")

    def __init__(self, content: bytes | tuple[list[Tree], dict[str, Tree]], writer: Writer | None = None) -> None:
        self._content = content
        self._writer = writer

    @property
    def references(self) -> list[object]:
        """The records among the arguments, however deep."""
        return [] if self._writer is None else self._writer.records

    @property
    def pending(self) -> bool:
        """Whether a record among them still waits for its key."""
        return self._writer is not None and bool(self._writer.pending)

    def seal(self) -> bytes:
        """The JSON text that travels; ``SerializationError`` if a pending record has no key even now."""
        if self._writer is not None:
            self._writer.resolve()
        if not isinstance(self._content, bytes):
            self._content = msgspec.json.encode(self._content)
        return self._content


PLAIN = frozenset((str, int, float, bool, type(None)))


def thaw(data: bytes | memoryview | msgspec.Raw, types: Mapping[str, type] = NO_TYPES) -> Thawed:
    """What ``Frozen.seal`` has made, read again. ``ArgumentError`` for anything else, here or in ``fill``.

    A class is one of ``types`` or of a module that is imported already; nothing is ever imported.
    """
    try:
        args, kwargs = _message.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise ArgumentError(f"the arguments cannot be read: {error!s:.300}") from error
    return Thawed(args, kwargs, types)


class Thawed:
    """The arguments of a job as they came off the queue; records are filled in when they have been located."""

    __slots__ = ("_args", "_is_plain", "_kwargs", "_types", "references")

    def __init__(self, args: list[object], kwargs: dict[str, object], types: Mapping[str, type]) -> None:
        self._args = args
        self._kwargs = kwargs
        self._types = types
        # Those of most jobs, of which nothing is to be made.
        self._is_plain = PLAIN.issuperset(map(type, args)) and PLAIN.issuperset(map(type, kwargs.values()))
        #: The names of all records among the arguments, each once.
        self.references = () if self._is_plain else references([args, *kwargs.values()], "an argument")

    def fill(self, records: Mapping[GlobalId, object]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, made anew each time; ``ArgumentError`` for what cannot be rebuilt here."""
        if self._is_plain:
            return tuple(self._args), dict(self._kwargs)
        reader = Reader(self._types, records)
        args = tuple(reader.value(tree, f"positional argument {number}") for number, tree in enumerate(self._args, 1))
        return args, {name: reader.value(tree, f"argument {name}") for name, tree in self._kwargs.items()}


def encode(value: object, *, what: str = "the value") -> Tree:
    """One value as a JSON tree, by the rules of arguments. ``SerializationError``, also for a record without a key."""
    writer = Writer()
    tree = writer.tree(value, what)
    writer.resolve()
    return tree


def decode(
    tree: object,
    types: Mapping[str, type] = NO_TYPES,
    *,
    locate: Callable[[GlobalId], object] = identity.locate,
    what: str = "the value",
) -> Any:
    """The value of a tree, its records located. ``ArgumentError`` if it cannot be read, and what ``locate`` raises.

    Where locating must be awaited: await all of ``references(tree)`` first, and pass a dictionary's ``__getitem__``.
    """
    records = {gid: locate(gid) for gid in references(tree, what)}
    return Reader(types, records).value(tree, what)


_message = msgspec.json.Decoder(tuple[list[Any], dict[str, Any]])


def _plain_text(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """The text of arguments that are JSON scalars already, None if there are others."""
    if not (_are_plain(args) and (not kwargs or _are_plain(kwargs.values()))):
        return None
    try:
        return msgspec.json.encode((args, kwargs))
    except UnicodeEncodeError:  # the walk will say where
        return None


def _are_plain(values: Iterable[Any]) -> bool:
    for value in values:
        kind = type(value)
        if kind is int:
            if not -(2**63) <= value < 2**63:
                return False
        elif kind is float:
            if not math.isfinite(value):
                return False
        elif kind not in _PLAIN:
            return False
    return True

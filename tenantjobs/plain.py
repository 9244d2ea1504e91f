"""Plain values: what may be read from where no signature covers it, since it names no record and builds no object."""

from __future__ import annotations

from typing import Any

from tenantjobs import arguments
from tenantjobs.codec.scalars import READERS, TAG
from tenantjobs.errors import ArgumentError, SerializationError

_PLAIN_TAGS = frozenset({*READERS, "$tuple", "$set", "$dict"})


def freeze(value: object, what: str) -> Any:
    """``value`` as it travels; ``SerializationError`` if it is no plain value."""
    tree = arguments.encode(value, what=what)
    if not _is_plain(tree):
        raise SerializationError(
            f"{what} is {value!r:.80}: a plain value is wanted, not a record or an object of a class: use its key"
        )
    return tree


def thaw(tree: Any, what: str) -> Any:
    """The value again; ``ArgumentError`` if ``freeze`` has not made it."""
    if not _is_plain(tree):
        raise ArgumentError(f"{what} cannot be read: it is no plain value")
    return arguments.decode(tree, what=what)


def _is_plain(tree: Any) -> bool:
    if isinstance(tree, list):
        return all(map(_is_plain, tree))
    if isinstance(tree, dict):
        tags = all(name in _PLAIN_TAGS for name in tree if name.startswith(TAG))
        return tags and all(map(_is_plain, tree.values()))
    return True

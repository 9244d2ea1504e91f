"""Where a job goes on: the steps that are completed, and the place inside the one at hand."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from tenantjobs import arguments
from tenantjobs.codec.scalars import READERS, TAG
from tenantjobs.errors import ArgumentError, SerializationError

# A bookmark changes on the way, so no signature covers it: it may name no record, and build no object of a class.
_PLAIN_TAGS = frozenset({*READERS, "$tuple", "$set", "$dict"})


class Bookmark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What travels of the steps of a job. ``cursor`` is UNSET until it has been set in ``step``."""

    done: tuple[str, ...] = ()
    step: str | None = None
    cursor: Any = msgspec.UNSET
    resumptions: Annotated[int, msgspec.Meta(ge=0)] = 0

    @property
    def has_moved(self) -> bool:
        """Whether there is something to resume from."""
        return bool(self.done) or self.step is not None


def freeze(value: object, what: str) -> Any:
    """The place that a cursor is set to, as it travels; ``SerializationError`` if it is no plain value."""
    tree = arguments.encode(value, what=what)
    if not _is_plain(tree):
        raise SerializationError(
            f"{what} is {value!r:.80}: a cursor is a plain value, not a record or an object of a class: use its key"
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

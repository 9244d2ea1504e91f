"""Behaviour for an object of SQLAlchemy that has been made already: its class is exchanged for one with a mixin.

For what no event tells, and where an event costs too much.
"""

from __future__ import annotations

from typing import Any


def mix_in(mixin: type, into: Any) -> None:
    """Let the object behave as ``mixin`` says from here on, whatever it was before."""
    kind = type(into)
    if not issubclass(kind, mixin):
        into.__class__ = mixed(mixin, kind)


def mixed(mixin: type, kind: type) -> Any:
    """The class ``kind`` with ``mixin`` before it; one for all who ask."""
    found = _mixed.get((mixin, kind))
    if found is None:
        found = _mixed[mixin, kind] = type(mixin.__name__.lstrip("_"), (mixin, kind), {})
    return found


_mixed: dict[tuple[type, type], type] = {}

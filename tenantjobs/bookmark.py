"""Where a job goes on: the steps that are completed, and the place inside the one at hand."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class Bookmark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What travels of the steps of a job. ``cursor`` is UNSET until it has been set in ``step``.

    It changes on the way, so no signature covers it: a cursor is a plain value.
    """

    done: tuple[str, ...] = ()
    step: str | None = None
    cursor: Any = msgspec.UNSET
    resumptions: Annotated[int, msgspec.Meta(ge=0)] = 0

    @property
    def has_moved(self) -> bool:
        """Whether there is something to resume from."""
        return bool(self.done) or self.step is not None

"""The section ``[dramatiq]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec


class DramatiqSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``broker`` is where the broker is imported from, ``"shop.broker:broker"``.

    ``prefix`` begins the names of our queues there: a worker sends messages to the dead letters whose actor it does not
    know, so ours and those of native actors never share a queue.
    """

    broker: str
    prefix: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z_][a-zA-Z0-9._-]*$", max_length=100)] = "tenantjobs."

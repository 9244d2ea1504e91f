"""The section ``[redis]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where keys and locks are kept; applications that share a Redis have a ``prefix`` each.

    ``timeout`` is how many seconds Redis may take for an answer. It is asked twice before a job comes back later.
    """

    url: str
    prefix: Annotated[str, msgspec.Meta(min_length=1)] = "tenantjobs:"
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 5.0

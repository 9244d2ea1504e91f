"""The section ``[celery]`` of the configuration."""

from __future__ import annotations

from typing import Literal

import msgspec


class CelerySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``app`` is where the Celery app is imported from, ``"shop.celery:app"``; ``pool`` is what workers run jobs in."""

    app: str
    pool: Literal["prefork", "threads", "solo", "gevent"] = "prefork"

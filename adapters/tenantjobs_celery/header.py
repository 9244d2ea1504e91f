"""The header that carries ``Current`` beside a task: where Celery puts it, and for senders that write it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenantjobs.carriage import KEY, write
from tenantjobs.current import Current, Snapshot

__all__ = ["KEY", "carried", "headers"]


def headers(snapshot: Snapshot | None = None) -> dict[str, str]:
    """The message headers of a scope, by default of the one in force, for senders that have none: entries of beat.

    with Current.system("nightly report"):
        entry = {"task": "shop.report", "schedule": 3600, "options": {"headers": tenantjobs_celery.headers()}}
    """
    header = write(Current.capture() if snapshot is None else snapshot)
    return {} if header is None else {KEY: header}


def carried(fields: Mapping[str, Any]) -> object:
    """The header among the fields of a request, where Celery has put it; else None.

    With protocol 1 it is one level deeper. With protocol 2 it is there as well, unless a library sends a header that
    is itself called ``headers``.
    """
    found = fields.get(KEY)
    if found is None:
        nested = fields.get("headers")
        found = nested.get(KEY) if isinstance(nested, Mapping) else None
    return found

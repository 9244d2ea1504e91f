"""The one header that carries ``Current`` beside a task, as a small object with a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tenantjobs.current import Current, Snapshot
from tenantjobs.snapshot import EMPTY

KEY = "tenantjobs"
VERSION = 1

Header = dict[str, Any]


class Unreadable(ValueError):
    """The header is there, and says nothing that this process may rely on."""


def headers(snapshot: Snapshot | None = None) -> dict[str, Any]:
    """The message headers of a scope, by default of the one in force, for senders that have none: entries of beat.

    with Current.system("nightly report"):
        entry = {"task": "shop.report", "schedule": 3600, "options": {"headers": tenantjobs_celery.headers()}}
    """
    header = write(Current.capture() if snapshot is None else snapshot)
    return {} if header is None else {KEY: header}


def write(snapshot: Snapshot) -> Header | None:
    """The header of a scope; None for an empty one, so that its message stays as it was."""
    return {"v": VERSION, **msgspec.json.decode(snapshot.encode())} if snapshot else None


def refusal(error: Exception) -> Header:
    """What is sent for a scope that cannot be written: a header that every worker refuses, and says why."""
    return {"v": VERSION, "error": f"{type(error).__name__}: {error}"}


def read(header: object) -> Snapshot:
    """The scope that the header carries, an empty one if there is no header; ``Unreadable``."""
    if header is None:
        return EMPTY
    if not isinstance(header, Mapping):
        raise Unreadable(f"it is {header!r:.80}, not an object")
    fields = dict(header)
    version = fields.pop("v", None)
    if version != VERSION:
        raise Unreadable(f"it is of version {version!r}, and this worker knows {VERSION}: upgrade the worker")
    if "error" in fields:
        raise Unreadable(f"it could not be written where the task was sent, {fields['error']}")
    try:
        return msgspec.convert(fields, Snapshot)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Unreadable(str(error)) from error


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

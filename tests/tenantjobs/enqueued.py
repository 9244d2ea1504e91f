from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenantjobs import adapter


def enqueued(perform_later: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    """The bytes that a queue would hold of the job that is enqueued."""
    perform_later(*args, **kwargs)
    data: bytes = adapter.configured()._waiting.pop()  # type: ignore[attr-defined]  # the memory adapter's own list
    return data

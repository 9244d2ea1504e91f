"""Entries of beat: added in a scope, they send their tasks in it, day after day."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tenantjobs_celery.header import KEY, headers


def cover(app: Any) -> None:
    """Every entry that ``app.add_periodic_task`` adds from now on, save those whose headers say a scope."""
    app.add_periodic_task = _in_scope(app.add_periodic_task)


def _in_scope(add: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(add)
    def add_periodic_task(schedule: Any, sig: Any, *args: Any, **options: Any) -> Any:
        of_signature = sig.get("options", {}).get("headers") if isinstance(sig, dict) else None
        given = options.get("headers", of_signature) or {}
        if KEY not in given and (scope := headers()):
            options["headers"] = {**given, **scope}
        return add(schedule, sig, *args, **options)

    return add_periodic_task

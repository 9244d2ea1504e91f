"""Entries of ``rq cron``: registered in a scope, they enqueue their jobs in it, day after day."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

from tenantjobs.carriage import KEY
from tenantjobs_rq import covering
from tenantjobs_rq.header import meta


def cover() -> None:
    """Every entry that is registered from now on; RQ has cron since 2.4."""
    try:
        cron: Any = import_module("rq.cron")
    except ModuleNotFoundError:
        return
    covering.cover(cron, "register", _in_scope)
    covering.cover(cron.CronScheduler, "register", _in_scope)


def _in_scope(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def register(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("meta") or {}
        if KEY not in given and (scope := meta()):
            kwargs["meta"] = {**given, **scope}
        return original(*args, **kwargs)

    return register

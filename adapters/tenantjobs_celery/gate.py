"""Whether a task may start: by the policy of its app, in the one hook whose errors fail the task."""

from __future__ import annotations

import logging
from types import MethodType
from typing import Any, Literal

from tenantjobs.current import Current, locate_tenant
from tenantjobs.errors import TenantjobsError, TenantMissing
from tenantjobs_celery import delivery

Tenancy = Literal["required", "optional", "observe"]

logger = logging.getLogger("tenantjobs.celery")

# Celery's own work: it counts, cleans up and sends what was stored, which has its scope with it and a gate of its own.
# Not so celery.map, celery.starmap and celery.chunks: they run the bodies of the user's tasks.
HOUSEKEEPING = frozenset(
    f"celery.{name}" for name in ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "group")
)

# The task that performs our own jobs, whose scope is sealed in what it is given, and decided about behind our door.
WRAPPER = "tenantjobs.perform"


class Gate:
    """``Task.before_start`` with the policy before it. Raises what is wrong, and the task fails of it."""

    def __init__(self, original: Any, tenancy: Tenancy) -> None:
        self.original = original
        self.tenancy: Tenancy = tenancy

    def __get__(self, task: Any, owner: type | None = None) -> Any:
        return self if task is None else MethodType(self, task)

    def __call__(self, task: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        admit(task, self.tenancy)
        original = self.original.__get__(task, type(task)) if hasattr(self.original, "__get__") else self.original
        return original(task_id, args, kwargs)


def admit(task: Any, tenancy: Tenancy) -> None:
    """``TenantMissing``, ``TenantGone`` or ``TenantUnavailable``; only a warning where the policy is to observe."""
    try:
        _require(task, tenancy)
    except TenantjobsError as error:
        if tenancy != "observe":
            raise
        logger.warning("%s It runs, because tenancy is %r.", error, tenancy)


def _require(task: Any, tenancy: Tenancy) -> None:
    problem = delivery.begin(task).problem
    scope = Current.scope
    if task.name in HOUSEKEEPING or task.name == WRAPPER:
        return
    elif problem is not None:
        raise TenantMissing(f"{_named(task)} came with a scope that cannot be read: {problem}.")
    elif scope == "tenant":
        locate_tenant()
    elif scope == "unset" and tenancy != "optional":
        raise TenantMissing(
            f"{_named(task)} came without a tenant: send it inside `with Current.set(tenant=...):`, inside `with "
            "Current.system('why'):` if it works for all of them, and an entry of beat with "
            "options={'headers': tenantjobs_celery.headers()}."
        )


def _named(task: Any) -> str:
    return f"task {task.name}[{task.request.id}]"

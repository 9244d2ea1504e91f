"""Whether a task may start: by the policy of its app, in the one hook whose errors fail the task."""

from __future__ import annotations

from types import MethodType
from typing import Any

from tenantjobs.carriage import Tenancy
from tenantjobs_celery import delivery

# Celery's own work: it counts, cleans up and sends what was stored, which has its scope with it and a gate of its own.
# Not so celery.map, celery.starmap and celery.chunks: they run the bodies of the user's tasks.
HOUSEKEEPING = frozenset(
    f"celery.{name}" for name in ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "group")
)

HOW = (
    "send it inside `with Current.set(tenant=...):`, inside `with Current.system('why'):` if it works for all of them, "
    "and an entry of beat with options={'headers': tenantjobs_celery.headers()}"
)


class Gate:
    """``Task.before_start`` with the policy before it. Raises what is wrong, and the task fails of it."""

    def __init__(self, original: Any, tenancy: Tenancy) -> None:
        self.original = original
        self.tenancy: Tenancy = tenancy

    def __get__(self, task: Any, owner: type | None = None) -> Any:
        return self if task is None else MethodType(self, task)

    def __call__(self, task: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        delivered = delivery.begin(task)
        if delivered is not None and task.name not in HOUSEKEEPING:
            delivered.admit(self.tenancy, HOW)
        original = self.original.__get__(task, type(task)) if hasattr(self.original, "__get__") else self.original
        return original(task_id, args, kwargs)

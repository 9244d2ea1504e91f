"""Whether a task may start: by the policy of its app, in the one hook whose errors fail the task."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Task

from tenantjobs.carriage import Delivery, Tenancy
from tenantjobs_celery.around import Around
from tenantjobs_celery.delivery import named, running

# Celery's own work: it counts, cleans up and sends what was stored, which has its scope with it and a gate of its own.
# Not so celery.map, celery.starmap and celery.chunks: they run the bodies of the user's tasks.
HOUSEKEEPING = frozenset(
    f"celery.{name}" for name in ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "group")
)

HOW = (
    "send it inside `with Current.set(tenant=...):`, inside `with Current.system('why'):` if it works for all of them, "
    "and an entry of beat with options={'headers': tenantjobs_celery.headers()}"
)


class Gate(Around):
    """``Task.before_start`` with the policy before it. Raises what is wrong, and the task fails of it."""

    def __init__(self, original: Any, tenancy: Tenancy) -> None:
        super().__init__(original)
        self.tenancy: Tenancy = tenancy
        self.alone = original is Task.before_start  # which does nothing

    def __get__(self, task: Any, owner: type | None = None) -> Any:
        """The method: Celery asks for it once, and calls it with each message, when all that can be is known."""
        if task is None:
            return self
        name, tenancy, housekeeping = task.name, self.tenancy, task.name in HOUSEKEEPING
        start = None if self.alone else self.of(task)

        def before_start(task_id: str, args: Any, kwargs: Any) -> Any:
            # Where something else than Celery runs the task, it has no scope, whatever it came with.
            delivered = running() or Delivery.of(None, partial(named, name, task_id))
            if housekeeping:
                delivered.admit_seal()
            else:
                delivered.admit(tenancy, HOW)
            return None if start is None else start(task_id, args, kwargs)

        return before_start

    def __call__(self, task: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        """As the function of a base class, by its name."""
        return self.__get__(task)(task_id, args, kwargs)

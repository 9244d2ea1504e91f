"""One delivery of a task: a block that begins with one of Celery's signals and ends with another."""

from __future__ import annotations

from typing import Any

from tenantjobs.carriage import Delivery
from tenantjobs_celery.header import carried

# The task that performs our own jobs, whose scope is sealed in what it is given, and decided about behind our door.
WRAPPER = "tenantjobs.perform"

_SLOT = "_tenantjobs"


def begin(task: Any) -> Delivery | None:
    """The delivery that ``task`` runs for, begun if it was not yet. None for the task behind which our door is."""
    request = task.request
    found = of(task)
    if found is None and task.name != WRAPPER:
        fields = request.__dict__
        found = Delivery(carried(fields), named(task.name, request.id), called=bool(request.is_eager))
        fields[_SLOT] = found.__enter__()
    return found


def of(task: Any) -> Delivery | None:
    """The delivery that ``task`` runs for, if there is a task, and it runs for one."""
    found: Delivery | None = None if task is None else task.request.__dict__.get(_SLOT)
    return found


def end(task: Any) -> None:
    """What was in force before the delivery is in force again. Nothing happens the second time."""
    delivery = task.request.__dict__.pop(_SLOT, None)
    if delivery is not None:
        delivery.__exit__(None, None, None)


def named(task: str, task_id: str | None) -> str:
    """What messages call it."""
    return f"task {task}[{task_id}]"

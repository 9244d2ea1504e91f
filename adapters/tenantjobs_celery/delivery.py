"""One delivery of a task: the block in which Celery runs it, from before its first signal until after the last one."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from functools import partial
from operator import attrgetter
from typing import Any

from tenantjobs.carriage import Delivery
from tenantjobs.sentinel import TenantLeak
from tenantjobs_celery.around import Around
from tenantjobs_celery.header import KEY, carried
from tenantjobs_celery.sealing import FOLLOWERS, covered

logger = logging.getLogger("tenantjobs.celery")

# The task that performs our own jobs, whose scope is sealed in what it is given, and decided about behind our door.
WRAPPER = "tenantjobs.perform"

#: Where a task keeps its tracer with the block around it; None until Celery has made one.
TRACER = "_tenantjobs_tracer"

_running: ContextVar[Delivery | None] = ContextVar("tenantjobs_celery_delivery", default=None)

#: The delivery that this code runs for; None outside of any.
running = _running.get


def named(task: str, task_id: str | None) -> str:
    """What messages call it."""
    return f"task {task}[{task_id}]"


class Traced(property):
    """``Task.__trace__``: the function that Celery makes for a task, and calls with each of its messages.

    A property, for it is read with each message, and this one takes no function of Python to be read.
    """

    def __init__(self) -> None:
        super().__init__(attrgetter(TRACER), _set_tracer)


def _set_tracer(task: Any, trace: Any) -> None:
    setattr(task, TRACER, None if trace is None else _delivering(task.name, trace))


def _delivering(name: str, trace: Any) -> Any:
    def deliver(task_id: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        result = None
        fields = request or {}
        header = fields.get(KEY) or carried(fields)
        delivery = Delivery.of(
            header, partial(named, name, task_id), lambda: covered(name, task_id, args, kwargs, fields)
        )
        try:
            with delivery:
                if delivery.forged is not None:  # Celery fails the task by our gate, and would send what follows it
                    request = {**fields, **dict.fromkeys(FOLLOWERS)}
                token = _running.set(delivery)
                try:
                    result = trace(task_id, args, kwargs, request)
                finally:
                    _running.reset(token)
        except TenantLeak as leak:  # of what was left behind: by now the task has ended, and has its result
            logger.error("%s", leak)
        return result

    return deliver


class Applied(Around):
    """``Task.apply``: an eager task is part of its caller, save where its headers say a scope."""

    def __call__(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        header = carried({"headers": kwargs.get("headers")})
        delivery = Delivery.called(header, partial(named, task.name, kwargs.get("task_id") or "eager"))
        with delivery:
            token = _running.set(delivery)
            try:
                return self.of(task)(*args, **kwargs)
            finally:
                _running.reset(token)

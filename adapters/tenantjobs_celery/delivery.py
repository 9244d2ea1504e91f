"""One delivery of a task: the scope that it was sent in comes into force before it, and goes once it is over."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

from tenantjobs.current import Current, Snapshot
from tenantjobs.scopes import in_force
from tenantjobs.snapshot import EMPTY
from tenantjobs_celery.header import Unreadable, carried, read

logger = logging.getLogger("tenantjobs.celery")

_SLOT = "_tenantjobs"


class Delivery:
    """What came with the message, and how to leave what it put in force."""

    __slots__ = ("_before", "_scope", "header", "problem")

    def __init__(self, header: object, *, eager: bool) -> None:
        self.header = header
        self.problem: str | None = None
        self._before = in_force().scopes
        self._scope: AbstractContextManager[None] | None = None
        if header is not None or not eager:  # an eager task is a call, and works for whom its caller works
            self._scope = Current.restored(self._snapshot())
            self._scope.__enter__()

    def leave(self) -> bool:
        """Whatever has been entered since is left. False if the task had left that to us."""
        inside = [scope for scope in in_force().scopes if scope.state == "open" and scope not in self._before]
        for scope in reversed(inside):
            scope.__exit__(None, None, None)
        return all(scope is self._scope for scope in inside)

    def _snapshot(self) -> Snapshot:
        try:
            return read(self.header)
        except Unreadable as error:
            self.problem = str(error)
            return EMPTY


def begin(task: Any) -> Delivery:
    """The delivery that ``task`` runs for, begun if it was not yet."""
    request = task.request
    found = of(task)
    if found is None:
        found = request.__dict__[_SLOT] = Delivery(carried(request.__dict__), eager=bool(request.is_eager))
    return found


def of(task: Any) -> Delivery | None:
    """The delivery that ``task`` runs for, if there is a task, and it runs for one."""
    found: Delivery | None = None if task is None else task.request.__dict__.get(_SLOT)
    return found


def end(task: Any) -> None:
    """What was in force before the delivery is in force again. Nothing happens the second time."""
    delivery = task.request.__dict__.pop(_SLOT, None)
    if delivery is not None and not delivery.leave():
        logger.warning(
            "task %s[%s] left a scope of Current open, which has been left for it: write `with Current.set(...):`",
            task.name,
            task.request.id,
        )

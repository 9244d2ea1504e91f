"""Our receivers of Celery's signals, and their order: first to see a task start, last to see it end."""

from __future__ import annotations

from typing import Any

from celery import signals

from tenantjobs_celery import delivery
from tenantjobs_celery.annotations import guard

_UID = "tenantjobs.celery"


def connect() -> None:
    """Once per process, for all its apps: shared tasks belong to each of them."""
    signals.task_prerun.connect(restore, weak=False, dispatch_uid=_UID)
    signals.task_postrun.connect(reset, weak=False, dispatch_uid=_UID)
    signals.worker_init.connect(prepare, weak=False, dispatch_uid=_UID)
    signals.worker_process_init.connect(prepare, weak=False, dispatch_uid=_UID)
    put_outermost()


def restore(*, task: Any, **_: object) -> None:
    delivery.begin(task)


def reset(*, task: Any, **_: object) -> None:
    delivery.end(task)


def prepare(*, sender: Any = None, **_: object) -> None:
    """A worker starts, and whatever it imports has connected its receivers and made its tasks."""
    put_outermost()
    app = getattr(sender, "app", None)
    if app is not None:
        guard(app)


def put_outermost() -> None:
    """What other receivers do, around the task, they do in its scope."""
    _move(signals.task_prerun, restore, first=True)
    _move(signals.task_postrun, reset, first=False)


def _move(signal: Any, ours: Any, *, first: bool) -> None:
    with signal.lock:
        in_order = sorted(signal.receivers, key=lambda entry: (entry[1] is ours) != first)
        signal.receivers[:] = in_order  # in place: tracers hold this very list
        signal.sender_receivers_cache.clear()

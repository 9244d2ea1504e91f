"""The one native task that performs every job of ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tenantjobs import strides
from tenantjobs_celery.delivery import WRAPPER


def wrapper(app: Any) -> Any:
    """The task, registered with the app once.

    It is acknowledged when it is over, so that a killed worker loses nothing. Celery retries nothing: what becomes of a
    job is decided inside. Its value is not stored, its failure is.
    """
    found = app._tasks.get(WRAPPER)
    if found is None:
        found = app.task(
            perform,
            name=WRAPPER,
            shared=False,
            acks_late=True,
            reject_on_worker_lost=True,
            max_retries=0,
            ignore_result=True,
            store_errors_even_if_ignored=True,
            serializer="json",
        )
    return found


def perform(data: str) -> None:
    """What becomes of the job is decided inside."""
    strides.perform(data, stopping=_stopping)


def _stopping() -> bool:
    """Whether the worker shuts down, where a job can know: in its own process, so never in a child of prefork."""
    state = import_module("celery.worker.state")  # which producers have no need of
    return any(asked is not None and asked is not False for asked in (state.should_stop, state.should_terminate))

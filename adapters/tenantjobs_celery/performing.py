"""The one native task that performs every job of ours."""

from __future__ import annotations

from typing import Any

from tenantjobs import strides
from tenantjobs_celery.delivery import WRAPPER
from tenantjobs_celery.stopping import Tell, stopping


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
        app.steps["worker"].add(Tell)
    return found


def perform(data: str) -> None:
    """What becomes of the job is decided inside."""
    strides.perform(data, stopping=stopping)

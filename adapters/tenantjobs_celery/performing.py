"""The one native task that performs every job of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tenantjobs import adapter, execution, runtime
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError
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
    """Perform what was enqueued, or send it on if its time has not come."""
    runtime.load_app()
    early = _early(data)
    if early is None:
        execution.perform(data)
    else:
        adapter.configured().enqueue(early)


def _early(data: str) -> Envelope | None:
    try:
        envelope = Envelope.decode(data)
    except EnvelopeError:
        return None  # the door puts it in quarantine
    return envelope if envelope.due_at is not None and envelope.due_at > datetime.now(UTC) else None

"""Long delays on brokers that lose patience with a message that waits: it is sent on, stride by stride.

A worker keeps such a message in its memory, unacknowledged: RabbitMQ gives up on it after 30 minutes, Celery's Redis
after an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tenantjobs import adapter, execution, runtime
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError

LONGEST = timedelta(minutes=10)


def stride(envelope: Envelope) -> timedelta | None:
    """How long the broker is to keep the job now; None if it is due."""
    now = datetime.now(UTC)
    if envelope.due_at is None or envelope.due_at <= now:
        return None
    return min(envelope.due_at - now, LONGEST)


def perform(data: str, *, stopping: Callable[[], bool]) -> None:
    """For the native job of such a broker: perform what was enqueued, or send it on if its time has not come."""
    runtime.load_app()
    early = _early(data)
    if early is None:
        execution.perform(data, stopping=stopping)
    else:
        adapter.configured().enqueue(early)


def _early(data: str) -> Envelope | None:
    try:
        envelope = Envelope.decode(data)
    except EnvelopeError:
        return None  # the door puts it in quarantine
    return envelope if stride(envelope) is not None else None

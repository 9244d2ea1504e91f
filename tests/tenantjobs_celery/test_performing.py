from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tenantjobs import Current, adapter, job, testing
from tenantjobs.enqueuing import Message
from tenantjobs.testing import enqueued_jobs
from tenantjobs_celery.performing import perform


@job
def note() -> None: ...


def test_a_job_whose_time_has_not_come_goes_on_to_the_queue_that_jobs_are_enqueued_to() -> None:
    """In a swap that is another one, so that a queue of Celery is empty once a stride has passed."""
    due = datetime.now(UTC) + timedelta(hours=3)
    with testing.override(adapter="test"):
        with Current.set(tenant_id="acme"):
            envelope = Message(note.set(wait_until=due).call(), adapter.configured()).seal()

        perform(envelope.encode().decode())

        assert [(job.id, job.due_at, job.tenant_id) for job in enqueued_jobs()] == [(envelope.id, due, "acme")]

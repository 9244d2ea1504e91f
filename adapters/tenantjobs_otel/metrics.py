"""The metrics of jobs: those of the conventions for messaging, and what they have no name for."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from tenantjobs import Abort, JobContext
from tenantjobs.instrumentation import Enqueued, EnqueueRefused, Event, Performed, Quarantined, Started
from tenantjobs_otel import names
from tenantjobs_otel.errors import type_of

Attributes = dict[str, str]

SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class Metrics:
    """A listener that counts messages, and measures attempts."""

    def __init__(self, meter: Meter, tenants: frozenset[str]) -> None:
        self._tenants = tenants
        self._sent = meter.create_counter(names.SENT_MESSAGES, "{message}", "Jobs that were handed to their queue.")
        self._consumed = meter.create_counter(names.CONSUMED_MESSAGES, "{message}", "Attempts that workers began.")
        self._process = meter.create_histogram(
            names.PROCESS_DURATION, "s", "How long attempts ran.", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._wait = meter.create_histogram(
            names.QUEUE_WAIT, "s", "How long jobs were due.", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._perform = meter.create_histogram(
            names.PERFORM_DURATION, "s", "How long perform_now ran.", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._quarantined = meter.create_counter(names.QUARANTINED, "{message}", "Messages that may not be run.")

    def hear(self, event: Event) -> None:
        match event:
            case Enqueued(job=job):
                self._sent.add(1, self._of_message(job, "enqueue", "send"))
            case EnqueueRefused(job=job, error=error) if not isinstance(error, Abort):
                self._sent.add(1, {**self._of_message(job, "enqueue", "send"), names.ERROR_TYPE: type_of(error)})
            case Started(job=job, wait=wait, now=False):
                attributes = self._of_message(job, "process", "process")
                self._consumed.add(1, attributes)
                self._wait.record(wait, attributes)
            case Performed(job=job, run=run, now=False):
                self._process.record(run, {**self._of_message(job, "process", "process"), **_outcome(event)})
            case Performed(job=job, run=run):
                self._perform.record(run, {**self._of(job), **_outcome(event)})
            case Quarantined():
                self._quarantined.add(1)

    def _of_message(self, job: JobContext, operation: str, kind: str) -> Attributes:
        return {
            names.SYSTEM: "tenantjobs",
            names.OPERATION_NAME: operation,
            names.OPERATION_TYPE: kind,
            names.DESTINATION: job.queue,
            **self._of(job),
        }

    def _of(self, job: JobContext) -> Attributes:
        # Each value is a series of its own, and tenants are without number.
        tenant = job.tenant_id if job.tenant_id in self._tenants else names.OTHER
        return {names.JOB: job.name, names.TENANT: tenant or names.OTHER}


def _outcome(event: Performed) -> Attributes:
    outcome: Attributes = {names.OUTCOME: event.outcome}
    if event.error is not None and event.outcome != "interrupted":
        outcome[names.ERROR_TYPE] = type_of(event.error)
    return outcome

"""The metrics, and how they follow from events."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from tenantjobs import Abort, JobContext
from tenantjobs.instrumentation import Enqueued, EnqueueDropped, EnqueueRefused, Event, Performed, Quarantined

OTHER = "other"
SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class Metrics:
    """A listener that counts events, and measures attempts."""

    def __init__(self, registry: CollectorRegistry, tenants: frozenset[str]) -> None:
        self._tenants = tenants
        labels = ("job", "queue", "tenant")
        self._enqueued = Counter("tenantjobs_enqueued", "Jobs that a queue has taken.", labels, registry=registry)
        self._not_enqueued = Counter(
            "tenantjobs_not_enqueued",
            "Jobs that were not enqueued: dropped with their transaction, aborted by a hook, or refused by the queue.",
            (*labels, "reason"),
            registry=registry,
        )
        self._performed = Counter(
            "tenantjobs_performed", "Attempts, by what came of them.", (*labels, "outcome"), registry=registry
        )
        self._wait = Histogram(
            "tenantjobs_wait_seconds", "How long jobs were due.", labels, registry=registry, buckets=SECONDS
        )
        self._run = Histogram(
            "tenantjobs_run_seconds", "How long attempts ran.", (*labels, "outcome"), registry=registry, buckets=SECONDS
        )
        self._quarantined = Counter("tenantjobs_quarantined", "Messages that may not be run.", registry=registry)

    def hear(self, event: Event) -> None:
        match event:
            case Enqueued(job=job):
                self._enqueued.labels(*self._labels(job)).inc()
            case EnqueueDropped(job=job):
                self._not_enqueued.labels(*self._labels(job), "dropped").inc()
            case EnqueueRefused(job=job, error=error):
                reason = "aborted" if isinstance(error, Abort) else "refused"
                self._not_enqueued.labels(*self._labels(job), reason).inc()
            case Performed(job=job, outcome=outcome, wait=wait, run=run, now=now):
                labels = self._labels(job)
                self._performed.labels(*labels, outcome).inc()
                if not now:  # which has waited in no queue
                    self._wait.labels(*labels).observe(wait)
                self._run.labels(*labels, outcome).observe(run)
            case Quarantined():
                self._quarantined.inc()

    def _labels(self, job: JobContext) -> tuple[str, str, str]:
        return job.name, job.queue, job.tenant_id if job.tenant_id in self._tenants else OTHER

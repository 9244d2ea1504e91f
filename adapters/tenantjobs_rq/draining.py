"""Everything that is due, performed in this process, for tests: by a worker of RQ, without signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.worker import SimpleWorker


class Drainer(SimpleWorker):
    """Counts what it performs. It may run in any thread, and leaves the signals of the process alone."""

    death_penalty_class = TimerDeathPenalty

    def __init__(self, queues: Sequence[Queue], **options: Any) -> None:
        super().__init__(queues, serializer=JSONSerializer, **options)
        self.performed = 0

    def perform_job(self, job: Job, *args: Any, **kwargs: Any) -> bool:
        self.performed += 1
        return bool(super().perform_job(job, *args, **kwargs))

    def _install_signal_handlers(self) -> None: ...


def drain(queues: Sequence[Queue]) -> int:
    """Perform what is due, and what that enqueues, until nothing is left; the number of attempts."""
    performed = 0
    while queues:
        for queue in queues:
            _enqueue_due(queue)
        worker = Drainer(queues, connection=queues[0].connection)
        worker.work(burst=True, logging_level="WARNING")
        if not worker.performed:
            break
        performed += worker.performed
    return performed


def _enqueue_due(queue: Queue) -> None:
    registry: Any = queue.scheduled_job_registry
    for job_id in registry.get_jobs_to_schedule():
        job = Job.fetch(job_id, connection=queue.connection, serializer=JSONSerializer)
        with queue.connection.pipeline() as pipeline:
            queue._enqueue_job(job, pipeline=pipeline)
            registry.remove(job_id, pipeline=pipeline)
            pipeline.execute()

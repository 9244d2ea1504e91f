"""Our queues in Redis, and the jobs in them: RQ's own, as JSON text."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from rq import Queue, Retry, get_current_job
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from tenantjobs.envelope import Envelope
from tenantjobs_rq.performing import NAME
from tenantjobs_rq.settings import RqSettings

# A scheduler may have taken up a job that is due this soon, whatever its clock says. Seconds.
TOO_LATE = 10.0


class Queues:
    """Writes jobs, and takes them back."""

    def __init__(self, connection: Redis, settings: RqSettings) -> None:
        self.connection = connection
        self.settings = settings
        self._known: dict[str, Queue] = {}

    def named(self, name: str) -> Queue:
        """The queue that jobs call ``name``."""
        queue = self._known.get(name)
        if queue is None:
            queue = self._known[name] = Queue(
                self.settings.prefix + name, connection=self.connection, serializer=JSONSerializer, default_timeout=-1
            )
        return queue

    def names(self) -> set[str]:
        """Those that there have been jobs for."""
        start = (Queue.redis_queue_namespace_prefix + self.settings.prefix).encode()
        keys: Any = self.connection.smembers(Queue.redis_queues_keys)
        return {key.removeprefix(start).decode() for key in keys if key.startswith(start)}

    def enqueue(self, envelopes: Sequence[Envelope]) -> None:
        """All of them in one round trip."""
        now = datetime.now().astimezone()
        with self.connection.pipeline() as pipeline:
            for name in dict.fromkeys(envelope.queue for envelope in envelopes):
                queue = self.named(name)
                pipeline.sadd(Queue.redis_queues_keys, queue.key)  # enqueue_many of RQ 2.0 does not
                ready = []
                for envelope in (each for each in envelopes if each.queue == name):
                    if envelope.due_at is not None and envelope.due_at > now:
                        job = queue.create_job(NAME, **self._options(envelope))
                        queue.schedule_job(job, _full_second(envelope.due_at), pipeline=pipeline)
                    else:
                        ready.append(Queue.prepare_data(NAME, **self._options(envelope)))
                if ready:
                    queue.enqueue_many(ready, pipeline=pipeline)
            pipeline.execute()

    def cancel(self, job_id: str) -> bool:
        """Take a job out of the list or the schedule that it waits in: whoever removes it, has it."""
        try:
            job = Job.fetch(job_id, connection=self.connection, serializer=JSONSerializer)
        except NoSuchJobError:
            return False
        queue = Queue(job.origin, connection=self.connection)
        schedule: str = queue.scheduled_job_registry.key
        taken = bool(self.connection.lrem(queue.key, 1, job_id))
        if not taken:
            due: Any = self.connection.zscore(schedule, job_id)
            taken = due is not None and due > time.time() + TOO_LATE and bool(self.connection.zrem(schedule, job_id))
        if taken:
            self.connection.delete(job.key)
        return taken

    def _options(self, envelope: Envelope) -> dict[str, Any]:
        settings = self.settings
        return {
            "args": (envelope.encode().decode(),),
            "job_id": _job_id(envelope),
            "description": f"{envelope.name} id={envelope.id} tenant={envelope.tenant_id}",
            "timeout": settings.timeout or -1,
            "result_ttl": settings.result_ttl,
            "failure_ttl": settings.failure_ttl,
            "retry": Retry(max=settings.max_deaths) if settings.max_deaths else None,
        }


def _full_second(moment: datetime) -> datetime:
    """The next one: RQ's schedule drops the fraction, and a job must not be early."""
    return moment + timedelta(microseconds=-moment.microsecond % 1_000_000)


def _job_id(envelope: Envelope) -> str:
    """That of the job, and another one for what runs again: the attempt before it is still there under the first."""
    running = get_current_job()
    if envelope.attempt == 0 and (running is None or running.id != envelope.id):
        return envelope.id
    return f"{envelope.id}_{uuid.uuid4().hex[:12]}"

"""The adapter ``rq``: jobs in Redis, performed by RQ's own workers."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from redis.exceptions import RedisError

from tenantjobs import definition
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.options import queue_name
from tenantjobs_rq.draining import drain
from tenantjobs_rq.pool import Pool
from tenantjobs_rq.queues import Queues
from tenantjobs_rq.settings import RqSettings


class RqAdapter:
    """One native job for all of ours; retries, discards and delays are ours, and RQ's scheduler keeps the time.

    RQ knows no priority inside a queue: order is that of the calls, and urgent work has a queue of its own.
    """

    Settings = RqSettings
    capabilities = Capabilities(delay=True, queues=True, bulk=True, cancel=True)

    def __init__(self, settings: RqSettings) -> None:
        self.settings = settings
        self._connection = Redis.from_url(settings.url)
        self._queues = Queues(self._connection, settings)

    def enqueue(self, envelope: Envelope) -> None:
        self._queues.enqueue([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        """One pipeline for all of them."""
        self._queues.enqueue(envelopes)

    def cancel(self, job_id: str) -> bool:
        """Take the job back. Too late for one that runs, that waits for another attempt, or is due in a moment."""
        return self._queues.cancel(job_id)

    def drain(self) -> int:
        """Perform everything that is due in this process; the number of attempts."""
        return drain([self._queues.named(name) for name in sorted(self._queues.names())])

    def work(self, options: WorkOptions) -> int:
        """Run as many workers of RQ as jobs may run at once, each a process, until stopped or drained."""
        if options.polling_interval != WorkOptions().polling_interval:
            raise ConfigurationError(
                "--polling-interval: workers of RQ do not poll, they wait in Redis for the next job, and for delayed "
                "ones a second: leave it out"
            )
        problems = self.check()
        if problems:
            raise ConfigurationError(problems[0])
        served: list[str] = []
        while served != (found := self._served(options.queues)):
            served = found
            pool = Pool(
                self._connection,
                lambda: self._served(options.queues),
                processes=options.threads,
                shutdown_timeout=options.shutdown_timeout,
            )
            pool.start(burst=options.drain, logging_level="WARNING")
            if not options.drain or pool.stopped:
                break  # else jobs may have enqueued to queues that nobody has served yet
        return 0

    def check(self) -> list[str]:
        """What is wrong with the configuration, each with what to do about it."""
        try:
            self._connection.ping()
        except (RedisError, OSError) as error:
            return [f"[rq] url: Redis does not answer ({error}): start it, or say where it is"]
        return []

    def close(self) -> None:
        self._connection.close()

    def _served(self, wanted: Sequence[str]) -> list[str]:
        """The names in Redis of these queues; of all that jobs name, or have been in, if all are wanted."""
        if "*" in wanted:
            declared = {queue_name(job.queue) for job in definition.registry.values()}
            wanted = sorted({queue_name("default"), *declared, *self._queues.names()})
        return [self.settings.prefix + name for name in wanted]

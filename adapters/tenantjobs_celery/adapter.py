"""The adapter ``celery``: jobs as messages of one native task, performed by Celery's own workers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import Celery

from tenantjobs import definition, importing, strides
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, PartlyEnqueued
from tenantjobs.options import queue_name
from tenantjobs_celery.annotations import installed
from tenantjobs_celery.delivery import WRAPPER
from tenantjobs_celery.performing import wrapper
from tenantjobs_celery.queues import Queues
from tenantjobs_celery.settings import CelerySettings


class CeleryAdapter:
    """Retries, discards and delays are ours; queues and workers are those of the Celery app that ``[celery]`` names."""

    Settings = CelerySettings

    def __init__(self, settings: CelerySettings) -> None:
        self.settings = settings

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(delay=True, priority=self._queues.orders, queues=True, bulk=True)

    @cached_property
    def app(self) -> Any:
        """The Celery app, imported on first use, when what it is defined beside may use ours."""
        path = self.settings.app
        found = importing.named("celery", "app", path if ":" in path else f"{path}:app")
        if not isinstance(found, Celery):
            place = importing.place("celery", "app")
            raise ConfigurationError(f"{place} = {path!r} is no Celery app, but {found!r:.80}")
        wrapper(found)
        return found

    @cached_property
    def _queues(self) -> Queues:
        return Queues(self.app)

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        """All on one channel. ``PartlyEnqueued`` if the broker goes away when it has some of them."""
        task = wrapper(self.app)
        planned = [(envelope, self._options(envelope)) for envelope in envelopes]
        with self.app.producer_pool.acquire(block=True) as producer:
            for number, (envelope, options) in enumerate(planned):
                try:
                    task.apply_async((envelope.encode().decode(),), task_id=envelope.id, producer=producer, **options)
                except Exception as error:
                    if number == 0:
                        raise
                    raise PartlyEnqueued({unsent.id: error for unsent, _ in planned[number:]}) from error

    def work(self, options: WorkOptions) -> int:
        """Run a worker of Celery until it is stopped; it finishes what runs. Its exit code."""
        _refuse_what_celery_does_not_know(options)
        served = sorted(self._served(options.queues))
        for name in served:
            self._queues.named(name)
        self.app.set_current()
        worker = self.app.Worker(
            hostname=f"tenantjobs-{options.threads}@{socket.gethostname()}",
            queues=served,
            concurrency=options.threads,
            pool=self.settings.pool,
            prefetch_multiplier=1,
            loglevel="INFO",
        )
        worker.start()
        return int(worker.exitcode or 0)

    def check(self) -> list[str]:
        """What ``tenantjobs check`` reports of the app: tasks of the user's that would run without a tenant."""
        native = sorted(name for name in self.app.tasks if not name.startswith("celery.") and name != WRAPPER)
        if not native or installed(self.app) is not None:
            return []
        return [
            f"[celery] app = {self.settings.app!r} has native tasks ({', '.join(native[:3])}), which run without any "
            f"tenant: call tenantjobs_celery.install(app) where it is made. Workers that were started before, or with "
            "another app, go on without; only the data layer can refuse there"
        ]

    def close(self) -> None:
        """The app is the user's, and so are its connections."""

    def _options(self, envelope: Envelope) -> dict[str, Any]:
        options: dict[str, Any] = {
            "queue": self._queues.named(envelope.queue),
            "priority": self._queues.native_priority(envelope.queue, envelope.priority),
        }
        stride = strides.stride(envelope)
        if stride is not None:
            options["eta"] = datetime.now(UTC) + stride
        return options

    def _served(self, wanted: Sequence[str]) -> set[str]:
        if "*" not in wanted:
            return set(wanted)
        declared = {queue_name(job.queue) for job in definition.registry.values()}
        return {queue_name("default"), *declared, *self.app.amqp.queues}


def _refuse_what_celery_does_not_know(options: WorkOptions) -> None:
    defaults = WorkOptions()
    if options.drain:
        raise ConfigurationError("--drain: a worker of Celery does not know when its queues are empty: leave it out")
    if options.polling_interval != defaults.polling_interval:
        raise ConfigurationError("--polling-interval: workers of Celery do not poll: leave it out")
    if options.shutdown_timeout != defaults.shutdown_timeout:
        raise ConfigurationError("--shutdown-timeout: a worker of Celery waits for what runs: leave it out")

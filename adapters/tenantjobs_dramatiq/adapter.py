"""The adapter ``dramatiq``: jobs as messages of one native actor, performed by Dramatiq's own workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from dramatiq import Broker

from tenantjobs import definition, importing
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_dramatiq.performing import declare
from tenantjobs_dramatiq.queues import Queues
from tenantjobs_dramatiq.settings import DramatiqSettings
from tenantjobs_dramatiq.worker import work


class DramatiqAdapter:
    """Retries, discards and delays are ours; queues and workers are those of the broker that ``[dramatiq]`` names."""

    Settings = DramatiqSettings

    def __init__(self, settings: DramatiqSettings) -> None:
        self.settings = settings

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(delay=True, priority=self._queues.orders, queues=True, bulk=True)

    @cached_property
    def broker(self) -> Broker:
        """The broker, imported on first use, when what it is defined beside may use ours."""
        found = importing.named("dramatiq", "broker", self.settings.broker)
        if not isinstance(found, Broker):
            place = importing.place("dramatiq", "broker")
            raise ConfigurationError(f"{place} = {self.settings.broker!r} is no broker, but {found!r:.80}")
        declare(found, queue_name=f"{self.settings.prefix}default")
        return found

    @cached_property
    def _queues(self) -> Queues:
        return Queues(self.broker, self.settings.prefix)

    def enqueue(self, envelope: Envelope) -> None:
        self._queues.enqueue([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        """In one round trip to Redis. RabbitMQ that goes away in the middle has those that were sent before."""
        self._queues.enqueue(envelopes)

    def work(self, options: WorkOptions) -> int:
        """Run a worker of Dramatiq, with as many threads as jobs may run at once, until it is stopped."""
        if options.drain:
            raise ConfigurationError("--drain: a worker of Dramatiq does not know when its queues are empty")
        problems = self.check()
        if problems:
            raise ConfigurationError(problems[0])
        return work(self.broker, [self._queues.named(name) for name in self._served(options.queues)], options)

    def check(self) -> list[str]:
        """What is wrong with the configuration, each with what to do about it."""
        queues = self._queues
        try:
            queues.ping()
        except Exception as error:  # of whatever client the broker has
            return [f"[dramatiq] broker: it does not answer ({error!r}): start it, or say where it is"]
        return []

    def close(self) -> None:
        """The broker is the user's, and so are its connections."""

    def _served(self, wanted: Sequence[str]) -> list[str]:
        if "*" not in wanted:
            return list(wanted)
        return sorted({"default", *(job.queue for job in definition.registry.values())})

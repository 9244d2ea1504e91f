"""What the section ``[redis]`` brings beside a queue."""

from __future__ import annotations

from collections.abc import Sequence

from tenantjobs import runtime
from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_redis.ledger import RedisLedger
from tenantjobs_redis.locks import RedisLocks
from tenantjobs_redis.settings import RedisSettings
from tenantjobs_redis.store import Store

NO_QUEUE = (
    "the adapter 'redis' keeps keys and locks beside a queue, and is none itself: name one that has Redis as its "
    "broker, as adapter = 'rq', 'celery' or 'dramatiq', and leave the section [redis] beside it"
)


class RedisKeeper:
    """The ledger and the locks of a queue without a database. It stands where adapters do, and takes no jobs."""

    Settings = RedisSettings
    capabilities = Capabilities(queues=False)

    def __init__(self, settings: RedisSettings) -> None:
        self._store = Store(settings)
        self.ledger = RedisLedger(self._store)
        self.locks = RedisLocks(self._store)

    def enqueue(self, envelope: Envelope) -> None:  # noqa: ARG002
        raise ConfigurationError(NO_QUEUE)

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:  # noqa: ARG002
        raise ConfigurationError(NO_QUEUE)

    def check(self) -> list[str]:
        """What is wrong with the configuration, each with what to do about it."""
        return [NO_QUEUE] if runtime.settings().adapter == "redis" else self._store.problems()

    def close(self) -> None:
        self._store.redis.close()

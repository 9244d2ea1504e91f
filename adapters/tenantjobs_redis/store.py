"""The Redis of the section: where a key of a tenant lies in it, and what it means that there is no answer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from redis.retry import Retry

from tenantjobs.errors import LedgerUnavailable
from tenantjobs_redis.settings import RedisSettings

LONGEST_NAME = 190  # characters; what is longer is kept as a digest


class Store:
    """One Redis. Each step is a script, which does the same again if the answer to it was lost: it may be repeated."""

    def __init__(self, settings: RedisSettings) -> None:
        self.redis = Redis.from_url(
            settings.url,
            decode_responses=True,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.timeout,
            retry=Retry(ConstantBackoff(0.1), 1),  # the connection may be one of before Redis was restarted
            retry_on_error=[ConnectionError, TimeoutError],
        )
        self._prefix = settings.prefix

    def place(self, kind: str, tenant: str, key: str) -> str:
        """Where ``key`` lies: the length of the tenant tells where that ends, so that no two meet."""
        name = f"{len(tenant)}:{tenant}:{key}"
        if len(name) > LONGEST_NAME:  # and then longer than any short one can be
            name = f"{name[: LONGEST_NAME - 64]}~{hashlib.sha256(name.encode()).hexdigest()}"
        return f"{self._prefix}{kind}:{name}"

    @contextmanager
    def asked(self) -> Iterator[None]:
        """A block that asks Redis; ``LedgerUnavailable`` if that does not answer, or says that it cannot."""
        try:
            yield
        except RedisError as error:
            raise LedgerUnavailable(
                f"the Redis of [redis] url does not say who has the key ({type(error).__name__}: {error}): what needs "
                f"the key is not done without an answer; `tenantjobs check` looks whether it is there"
            ) from error

    def problems(self) -> list[str]:
        """What is wrong with it, each with what to do about it."""
        try:
            memory = self.redis.info("memory")
        except RedisError as error:
            return [f"[redis] url: Redis does not answer ({error}): start it, or say where it is"]
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy == "noeviction" or not memory.get("maxmemory"):
            return []
        return [
            f"[redis] url: when it is full, this Redis forgets keys that are done (maxmemory-policy is {policy}), and "
            f"their effects would be repeated: set it to noeviction, or name another Redis"
        ]


def milliseconds(seconds: float) -> int:
    """As Redis counts them: at least as long."""
    return math.ceil(seconds * 1000)

"""The locks of unique jobs in Redis: the id of the job that has it, until Redis forgets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from redis.commands.core import Script

from tenantjobs.errors import LedgerUnavailable
from tenantjobs.locks import Lock
from tenantjobs_redis.store import Store, milliseconds

LOCK = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
"""
UNLOCK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class RedisLocks:
    """Locks by tenant, taken right before their jobs are handed to the queue."""

    one_writer = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = store.redis.register_script(LOCK)
        self._unlock = store.redis.register_script(UNLOCK)

    def lock(self, locks: Sequence[Lock], connection: object | None = None) -> Mapping[str, str]:  # noqa: ARG002
        """Take them all; the holder for each that another job has, both by the ids of jobs."""
        try:
            holders = self._all(self._lock, [(lock, (max(1, milliseconds(lock.seconds)),)) for lock in locks])
        except LedgerUnavailable:
            with suppress(LedgerUnavailable):  # only the answer may be lost, and their jobs are not enqueued
                self.unlock(locks)
            raise
        return {lock.owner: holder for lock, holder in zip(locks, holders, strict=True) if holder is not None}

    def unlock(self, locks: Sequence[Lock], connection: object | None = None) -> None:  # noqa: ARG002
        """Free those that their owners still have."""
        self._all(self._unlock, [(lock, ()) for lock in locks])

    def joins(self, engine: object) -> bool:  # noqa: ARG002
        return False

    def _all(self, script: Script, each: Sequence[tuple[Lock, tuple[int, ...]]]) -> list[str | None]:
        """Run ``script`` for all of them in one transaction of Redis; what it gives for each."""
        with self._store.asked(), self._store.redis.pipeline() as pipeline:
            for lock, more in each:
                place = self._store.place("lock", lock.tenant, lock.key)
                script(keys=[place], args=[lock.owner, *more], client=pipeline)
            found: list[str | None] = pipeline.execute()
        return found

"""Locks in the memory of this process, for the adapter ``test``; they end by the clock that tests move."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tenantjobs import clock
from tenantjobs.locks import Lock


class MemoryLocks:
    """The contract of ``locks.Locks``, without a database to join."""

    one_writer = False

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._held: dict[tuple[str, str], tuple[str, datetime]] = {}

    def lock(self, locks: Sequence[Lock], connection: object | None = None) -> Mapping[str, str]:  # noqa: ARG002
        now = clock.now()
        holders = {}
        with self._turn:
            for lock in locks:
                holder, until = self._held.get((lock.tenant, lock.key), (lock.owner, now))
                if holder != lock.owner and until > now:
                    holders[lock.owner] = holder
                else:
                    self._held[lock.tenant, lock.key] = lock.owner, now + timedelta(seconds=lock.seconds)
        return holders

    def unlock(self, locks: Sequence[Lock], connection: object | None = None) -> None:  # noqa: ARG002
        with self._turn:
            for lock in locks:
                holder, _ = self._held.get((lock.tenant, lock.key), (None, None))
                if holder == lock.owner:
                    del self._held[lock.tenant, lock.key]

    def joins(self, engine: object) -> bool:  # noqa: ARG002
        return False

"""A ledger of idempotency keys in the memory of this process, for the adapter ``test``."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Literal

import msgspec

from tenantjobs.errors import LeaseLost
from tenantjobs.idempotency import Claim


class Entry(msgspec.Struct, frozen=True):
    """What is known of one key; ``until`` is when the claim, or the memory of what is done, ends."""

    owner: str
    token: str
    done: bool
    until: float | None
    ttl: float | None


class MemoryLedger:
    """The contract of ``idempotency.Ledger``, without a database to join."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Entry] = {}

    one_writer = False

    def acquire(
        self,
        tenant: str,
        key: str,
        owner: str,
        lease: float,
        ttl: float | None,
        connection: object | None = None,  # noqa: ARG002
    ) -> Claim | Literal["done", "running"]:
        now = time.monotonic()
        with self._lock:
            entry = self._entries.get((tenant, key))
            if entry is not None and (entry.until is None or entry.until > now):
                if entry.done:
                    return "done"
                if entry.owner != owner:
                    return "running"
            token = uuid.uuid4().hex
            self._entries[tenant, key] = Entry(owner, token, False, now + lease, ttl)
            return Claim(tenant, key, token)

    def complete(self, claim: Claim, connection: object | None) -> None:  # noqa: ARG002  # there is none to join
        with self._lock:
            entry = self._entries.get((claim.tenant, claim.key))
            if entry is None or entry.token != claim.token:
                raise LeaseLost(f"the key {claim.key!r} was taken over by another job")
            until = None if entry.ttl is None else time.monotonic() + entry.ttl
            self._entries[claim.tenant, claim.key] = msgspec.structs.replace(entry, done=True, until=until)

    def release(self, claim: Claim, connection: object | None = None) -> None:  # noqa: ARG002
        with self._lock:
            entry = self._entries.get((claim.tenant, claim.key))
            if entry is not None and entry.token == claim.token and not entry.done:
                del self._entries[claim.tenant, claim.key]

    def joins(self, connection: object) -> bool:  # noqa: ARG002
        return False

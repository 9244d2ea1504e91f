"""The ledger of idempotency keys in Redis: a hash for each key, by the clock of the server."""

from __future__ import annotations

from typing import Literal

from tenantjobs.envelope import new_id
from tenantjobs.errors import LeaseLost
from tenantjobs.idempotency import Claim
from tenantjobs_redis.store import Store, milliseconds

ABANDONED = 86_400.0  # seconds after its lease that a running key, which is free for anybody, is forgotten

# A key is running while it has an ``until``, and done without one.
ACQUIRE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'owner', 'until')
if held[1] then
    if not held[2] then return 'done' end
    if held[1] ~= ARGV[1] and tonumber(held[2]) >= now then return 'running' end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', ARGV[2], 'until', now + ARGV[3], 'ttl', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'taken'
"""
COMPLETE = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
if redis.call('HDEL', KEYS[1], 'until') == 1 then
    local ttl = redis.call('HGET', KEYS[1], 'ttl')
    if ttl == '' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ttl) end
end
return 1
"""
RELEASE = """
local held = redis.call('HMGET', KEYS[1], 'token', 'until')
if held[1] == ARGV[1] and held[2] then redis.call('DEL', KEYS[1]) end
"""


class RedisLedger:
    """Keys by tenant. There is no transaction that they could commit with: they follow the work."""

    one_writer = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self._acquire = store.redis.register_script(ACQUIRE)
        self._complete = store.redis.register_script(COMPLETE)
        self._release = store.redis.register_script(RELEASE)

    def acquire(
        self,
        tenant: str,
        key: str,
        owner: str,
        lease: float,
        ttl: float | None,
        connection: object | None = None,  # noqa: ARG002  # there is none to join
    ) -> Claim | Literal["done", "running"]:
        """Take the key, or say who has it."""
        claim = Claim(tenant, key, new_id())
        kept = max(lease, 0.0) + ABANDONED
        forgotten = "" if ttl is None else milliseconds(ttl)
        with self._store.asked():
            found: Literal["taken", "done", "running"] = self._acquire(
                keys=[self._place(claim)],
                args=[owner, claim.token, milliseconds(lease), forgotten, milliseconds(kept)],
            )
        return claim if found == "taken" else found

    def complete(self, claim: Claim, connection: object | None) -> None:  # noqa: ARG002
        """Mark the key as done; LeaseLost if another has it."""
        with self._store.asked():
            is_ours = self._complete(keys=[self._place(claim)], args=[claim.token])
        if not is_ours:
            raise LeaseLost(
                f"the key {claim.key!r} of tenant {claim.tenant or None} belongs to another by now: its lease ran out"
            )

    def release(self, claim: Claim, connection: object | None = None) -> None:  # noqa: ARG002
        """Free the key; one that another has by now, or that is done, stays as it is."""
        with self._store.asked():
            self._release(keys=[self._place(claim)], args=[claim.token])

    def joins(self, connection: object) -> bool:  # noqa: ARG002
        return False

    def _place(self, claim: Claim) -> str:
        return self._store.place("key", claim.tenant, claim.key)

"""Work behind an idempotency key: done once, whoever comes again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from tenantjobs import transaction
from tenantjobs.adapter import Capabilities
from tenantjobs.colours import Colour
from tenantjobs.errors import LeaseLost, LedgerUnavailable
from tenantjobs.idempotency import Claim, Ledger, OnRunning, idempotent
from tenantjobs.outcome import Finished

logger = logging.getLogger("tenantjobs.keyed")

POLL = 0.1  # seconds between two looks at a key that another one holds


class Key:
    """A key of the ledger that is taken for some work, and marked as done with the commit of that work.

    ``joining``: the work may be part of a transaction that is open around it.
    """

    def __init__(self, ledger: Ledger, tenant: str, name: str, *, joining: bool = False) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._name = name
        self._joining = joining
        self._claim: Claim | None = None

    async def take(
        self, io: Colour, *, owner: str, lease: float, ttl: float | None, on_running: OnRunning
    ) -> Literal["taken", "done", "running"]:
        """Take the key, or say who has it; ``on_running="wait"`` waits for one who is at work."""
        while True:
            claim: Claim | Literal["done", "running"] = await self._in_transaction(
                io, lambda connection: self._ledger.acquire(self._tenant, self._name, owner, lease, ttl, connection)
            )
            if isinstance(claim, Claim):
                self._claim = claim
                return "taken"
            if claim == "done" or on_running != "wait":
                return claim
            await io.sleep(POLL)

    def complete_within(self, connection: object) -> bool:
        """Mark it in the transaction of ``connection``; False if it can only be marked when that has committed."""
        joins = self._ledger.joins(connection)
        if joins:
            self._ledger.complete(self._held, connection)
        return joins

    def complete(self) -> None:
        """Mark it when the work has committed: a crash in between repeats the work rather than losing it."""
        try:
            self._ledger.complete(self._held, None)
        except LedgerUnavailable as error:  # the effect is there: to fail for this would be to have it again
            logger.error(
                "the key %r could not be marked as done, and its effect may be repeated: %s", self._name, error
            )

    async def complete_with_caller(self, io: Colour) -> None:
        """Mark it with the commit of the open transaction, whose rollback frees it; or now, if there is none."""
        if not transaction.hold([_Mark(self._ledger, self._held)], _Marks(self._ledger)):
            await io.blocking(self.complete)

    async def release(self, io: Colour) -> None:
        """Free it, because the work failed."""
        claim = self._held
        if not claim.within:
            try:
                await io.blocking(self._ledger.release, claim)
            except LedgerUnavailable:  # why the work failed is what the caller has to know
                logger.warning("the key %r could not be freed; its lease runs out", self._name, exc_info=True)
            return
        with suppress(Exception):  # a transaction that takes no more statements frees it by its rollback
            await self._in_transaction(io, lambda connection: self._ledger.release(claim, connection))

    @property
    def _held(self) -> Claim:
        assert self._claim is not None, "the key was not taken"
        return self._claim

    async def _in_transaction(self, io: Colour, function: Callable[[object | None], Any]) -> Any:
        """In the open transaction if any other would wait for it, else in one of the ledger's own."""
        scope = io.open_transaction(_Marks(self._ledger)) if self._joining and self._ledger.one_writer else None
        return await io.blocking(function, None) if scope is None else await io.settle(scope.run(function))


async def behind_key(
    policy: idempotent, io: Colour, *, key: Key, owner: str, work: Callable[[], Awaitable[Finished]]
) -> Finished | Literal["running"]:
    """Do ``work`` if the key is free, and free it again if the work fails; ``work`` marks it as done."""
    found = await key.take(io, owner=owner, lease=policy.lease, ttl=policy.ttl, on_running=policy.on_running)
    if found == "done":
        return Finished(note="its key is done already")
    if found == "running":
        return Finished(note="another one is at work on its key") if policy.on_running == "skip" else "running"
    try:
        return await work()
    except BaseException:
        await key.release(io)
        raise


class _Mark:
    """A key that waits for the commit of an open transaction, as a job does."""

    cancelled = False
    wish = reservation = batch = called_back_by = None
    members: Sequence[str] = ()

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim
        self.name = f"the key {claim.key!r}"
        self.job_id = claim.token
        self.tenant_id = claim.tenant or None

    def seal(self) -> Any:
        return self._claim

    def sent(self) -> None: ...
    def locked(self, *, apart: bool) -> None: ...
    def refused(self, error: Exception) -> None: ...

    def dropped(self, reason: str) -> None:
        logger.debug("%s is free again: %s", self.name, reason)
        if not self._claim.within:  # else it has never been there
            try:
                self._ledger.release(self._claim)
            except Exception:
                logger.warning("%s could not be freed; its lease runs out", self.name, exc_info=True)

    def failed(self, error: Exception) -> None:
        logger.error("%s could not be marked as done, and its effect may be repeated", self.name, exc_info=error)


class _Marks:
    """The ledger as what open transactions hold ``_Mark`` for: written by the commit, or right after it."""

    capabilities = Capabilities(bulk=True)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def joins(self, engine: object) -> bool:
        return self._ledger.joins(engine)

    def enqueue_within(self, connection: object, envelopes: Sequence[Any]) -> None:
        for claim in envelopes:
            self._ledger.complete(claim, connection)

    def enqueue(self, envelope: Any) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Sequence[Any]) -> None:
        for claim in envelopes:
            try:
                self._ledger.complete(claim, None)
            except LeaseLost as lost:  # the work has been committed: there is nobody left to roll it back
                logger.error("%s; its effect may be repeated", lost)

    def close(self) -> None: ...

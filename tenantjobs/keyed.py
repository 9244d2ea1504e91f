"""Work behind an idempotency key: done once, whoever comes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from tenantjobs import adapter
from tenantjobs.adapter import HasLedger
from tenantjobs.colours import Colour
from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError
from tenantjobs.idempotency import Claim, Ledger, idempotent
from tenantjobs.outcome import Finished

POLL = 0.1  # seconds between two looks at a key that another job holds


class Completion:
    """Marks the key of a job as done: in the work's own transaction where the ledger joins it, else after it."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim

    def within(self, connection: object) -> bool:
        """True if the key commits with ``connection``; False if it can only be marked afterwards."""
        joined = self._ledger.joins(connection)
        if joined:
            self._ledger.complete(self._claim, connection)
        return joined

    def afterwards(self) -> None:
        """Mark it when the work has committed: a crash in between repeats the work rather than losing it."""
        self._ledger.complete(self._claim, None)


async def behind_key(
    job: Definition,
    policy: idempotent,
    io: Colour,
    *,
    tenant: str,
    key: str,
    owner: str,
    work: Callable[[Completion], Awaitable[Finished]],
) -> Finished | Literal["running"]:
    """Do ``work`` if the key is free, and free it again if the work fails.

    ``work`` gets the ``Completion`` by which it marks the key as done.
    """
    ledger = _ledger(job)
    claim = await _acquire(policy, ledger, io, tenant, key, owner)
    if claim == "done":
        return Finished(note="its key is done already")
    if claim == "running":
        return Finished(note="another job is at work on its key") if policy.on_running == "skip" else "running"
    try:
        return await work(Completion(ledger, claim))
    except BaseException:
        await io.blocking(ledger.release, claim)
        raise


async def _acquire(
    policy: idempotent, ledger: Ledger, io: Colour, tenant: str, key: str, owner: str
) -> Claim | Literal["done", "running"]:
    while True:
        claim = await io.blocking(ledger.acquire, tenant, key, owner, policy.lease, policy.ttl)
        if claim != "running" or policy.on_running != "wait":
            return claim
        await io.sleep(POLL)


def _ledger(job: Definition) -> Ledger:
    configured = adapter.configured()
    if isinstance(configured, HasLedger):
        return configured.ledger
    raise ConfigurationError(
        f"job {job.name} is @idempotent, and the adapter {type(configured).__name__} has no ledger to keep its key in: "
        f"configure adapter = 'db', or leave @idempotent out"
    )

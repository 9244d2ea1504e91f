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

Complete = Callable[[object | None], None]


async def behind_key(
    job: Definition,
    policy: idempotent,
    io: Colour,
    *,
    tenant: str,
    key: str,
    owner: str,
    work: Callable[[Complete], Awaitable[Finished]],
) -> Finished | Literal["running"]:
    """Do ``work`` if the key is free, and free it again if the work fails.

    ``work`` gets the function that marks the key as done, to be called with the connection of its transaction.
    """
    ledger = _ledger(job)
    claim = await _acquire(policy, ledger, io, tenant, key, owner)
    if claim == "done":
        return Finished(note="its key is done already")
    if claim == "running":
        return Finished(note="another job is at work on its key") if policy.on_running == "skip" else "running"
    try:
        return await work(lambda connection: ledger.complete(claim, connection))
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

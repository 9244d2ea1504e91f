"""``once``: an effect that happens one time for a key and a tenant, in any code."""

from __future__ import annotations

import uuid
from datetime import timedelta
from types import TracebackType

from tenantjobs import runtime
from tenantjobs.colours import Awaiting, Blocking, Colour, drive
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, DuplicateJob, KeyTaken, LedgerUnavailable, TenantMissing
from tenantjobs.idempotency import OnRunning, check_on_running, ledger_for, seconds_of
from tenantjobs.keyed import Key
from tenantjobs.running import current_job


class once:
    """``with once(f"welcome:{user.id}") as first:`` - True the first time, False when it has been done.

    The key belongs to the tenant of the scope. It is done with the commit of the transaction that is open in this
    context, the session of a job among them, and free again after a rollback; without one it is done when the block is
    left, and free again if the block raises. A holder that died keeps it from others for ``lease`` seconds. ``ttl``
    (seconds or timedelta) forgets it a while after it is done.

    While another one is at work on the key, ``on_running="skip"`` (the default) gives False, ``"wait"`` waits for how
    that ends, and ``"retry"`` lets the job come back later without charging the attempt; outside of a job it raises
    ``DuplicateJob``. ``async with`` does the same without blocking the loop. While a ledger in Redis does not answer, a
    job comes back later; outside of a job it raises ``LedgerUnavailable``.
    """

    def __init__(
        self,
        key: str,
        /,
        *,
        ttl: float | timedelta | None = None,
        on_running: OnRunning = "skip",
        lease: float | timedelta = 900.0,
    ) -> None:
        _check_name(key)
        check_on_running("once", on_running)
        self._name = key
        self._ttl = None if ttl is None else seconds_of("once", "ttl", ttl)
        self._lease = seconds_of("once", "lease", lease)
        self._on_running: OnRunning = on_running
        self._key: Key | None = None

    def __enter__(self) -> bool:
        return drive(self._enter(Blocking()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        drive(self._exit(Blocking(), error))

    async def __aenter__(self) -> bool:
        return await self._enter(Awaiting())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exit(Awaiting(), error)

    async def _enter(self, io: Colour) -> bool:
        if self._key is not None:
            raise RuntimeError("once(...) is for one block: make another one")
        key = Key(ledger_for(f"once({self._name!r}) needs a ledger"), _tenant(self._name), self._name, joining=True)
        job = current_job()
        # A job that is delivered again is the one that took the key before it died.
        owner = uuid.uuid4().hex if job is None else job.id
        try:
            found = await key.take(io, owner=owner, lease=self._lease, ttl=self._ttl, on_running=self._on_running)
        except LedgerUnavailable as error:
            if job is None:
                raise
            raise KeyTaken(str(error)) from error  # what a job makes of its errors is not asked: it comes back
        if found == "taken":
            self._key = key
        elif found == "running" and self._on_running == "retry":
            raise self._busy(in_job=job is not None)
        return found == "taken"

    async def _exit(self, io: Colour, error: BaseException | None) -> None:
        if self._key is None:
            return
        if error is None:
            await self._key.complete_with_caller(io)
        else:
            await self._key.release(io)

    def _busy(self, *, in_job: bool) -> BaseException:
        text = f"another one is at work on the key {self._name!r}"
        return KeyTaken(text) if in_job else DuplicateJob(f"{text}; try again when it has ended")


def _check_name(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"once({key!r}): a text that names the effect is wanted, as in 'welcome:7'")


def _tenant(key: str) -> str:
    if Current.scope == "unset" and runtime.settings().tenancy == "required":
        raise TenantMissing(
            f"once({key!r}) has no tenant to belong to: set one (with Current.set(tenant=...)), or say that it is for "
            f"all of them (with Current.system('why'))"
        )
    return Current.tenant_id or ""

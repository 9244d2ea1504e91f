"""The locks of a unique job while it is performed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from tenantjobs.colours import Colour
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, DuplicateJob, KeyTaken, LeaseLost
from tenantjobs.locks import Lock, Locks, free
from tenantjobs.outcome import Outcome, Retried
from tenantjobs.uniqueness import DAY, locks_for, running_lock, unique, waiting_lock

logger = logging.getLogger("tenantjobs.holding")


def concerns(envelope: Envelope) -> bool:
    """Whether there may be locks of the job."""
    return "unique" in envelope.keys


class Holding:
    """What one attempt has of its locks, from before it starts until it is known what came of it."""

    def __init__(
        self, envelope: Envelope, job: Definition, io: Colour, lost: Callable[[], bool] = lambda: False
    ) -> None:
        self._envelope = envelope
        self._job = job
        self._io = io
        self._lost = lost
        self._locks: Locks | None = None
        self._waits = True
        self._runs = False

    async def around(self, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Do ``attempt``, and free what it leaves, or take what the next one waits with."""
        try:
            outcome = await attempt()
        except LeaseLost:
            raise  # the locks are those of another worker now, as the job is
        except BaseException:
            await self._wait_again(self._envelope)
            raise
        if isinstance(outcome, Retried):
            await self._wait_again(outcome.again())
        else:
            await self._end()
        return outcome

    async def enter(self) -> None:
        """The attempt starts; ``KeyTaken`` if another one is running that it may not run beside."""
        policy = self._policy
        if policy is None:
            return
        self._locks = locks = locks_for(f"job {self._job.name} is @unique")
        if self._lost():
            raise LeaseLost(f"job {self._job.name} id={self._envelope.id} belongs to another worker by now")
        if policy.until == "until_executed":
            await self._wait_again(self._envelope)  # it may have waited for longer than its lock did
            return
        if policy.until == "until_and_while_executing":
            # First, so that one that has to come back goes on keeping others out of the queue.
            if await self._io.blocking(locks.lock, [self._running]):
                raise KeyTaken(f"another one with the key {self._envelope.keys['unique']} is running")
            self._runs = True
        await self._io.blocking(free, locks, self._waiting)
        self._waits = False

    def free_with_commit(self, session: Any) -> None:
        """Have the lock end with a job that its own commit finishes: after that, nobody might be there to free it."""
        locks = self._locks
        if locks is None or not self._waits:
            return

        def free_in(connection: object) -> None:
            if locks.joins(connection):
                locks.unlock([self._waiting], connection)

        session.before_commit(free_in)

    async def _wait_again(self, envelope: Envelope) -> None:
        """Keep others out until the attempt to come, which takes place even if one of them is in by now."""
        if self._policy is None or self._locks is None or self._lost():
            return  # whoever has the job now may have ended it already, and would not free what was taken after that
        lock = waiting_lock(envelope, self._policy.ttl)
        try:
            holders = await self._io.blocking(self._locks.lock, [lock])
            if holders:
                logger.info("job id=%s waits beside job id=%s, of the same key", lock.owner, holders[lock.owner])
        except Exception:
            logger.warning("job id=%s waits without its lock", lock.owner, exc_info=True)
        if self._runs:
            await self._io.blocking(free, self._locks, self._running)

    async def _end(self) -> None:
        if self._policy is None or self._locks is None:  # as of one that a limit has kept from entering
            await self._io.blocking(forsake, self._envelope)
        else:
            held = [self._waiting] * self._waits + [self._running] * self._runs
            await self._io.blocking(free, self._locks, *held)

    @property
    def _policy(self) -> unique | None:
        """None for a job that was enqueued before it was unique, too: there is no lock of it."""
        return self._job.unique if "unique" in self._envelope.keys else None

    @property
    def _ttl(self) -> float:
        return DAY if self._policy is None else self._policy.ttl

    @property
    def _waiting(self) -> Lock:
        return waiting_lock(self._envelope, self._ttl)

    @property
    def _running(self) -> Lock:
        return running_lock(self._envelope.tenant_id, self._envelope.keys["unique"], self._envelope.id, self._ttl)


def forsake(envelope: Envelope) -> None:
    """Free the lock of a job that nobody performs as a unique one, if it has any."""
    if "unique" in envelope.keys:
        with suppress(ConfigurationError):  # there is no ledger any more, and no lock
            free(locks_for(f"job {envelope.name} was @unique"), waiting_lock(envelope, DAY))


@asynccontextmanager
async def running_alone(lock: Lock, locks: Locks, io: Colour, what: str) -> AsyncIterator[None]:
    """Hold ``lock`` for what is performed in the caller's own scope; ``DuplicateJob`` if another one is running."""
    # Where one transaction writes at a time, it is taken in the one that is open: any other would wait for that.
    scope = io.open_transaction(locks) if locks.one_writer else None

    async def do(function: Callable[[object | None], Any]) -> Any:
        return await io.blocking(function, None) if scope is None else await io.settle(scope.run(function))

    if await do(lambda connection: locks.lock([lock], connection)):
        raise DuplicateJob(f"{what}: another one with the key {lock.key} is running; try again when it has ended")
    try:
        yield
    finally:
        with suppress(Exception):  # a transaction that takes no more statements frees it by its rollback
            await do(lambda connection: locks.unlock([lock], connection))

"""The permit of a limited job while it is performed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from tenantjobs import clock, rates
from tenantjobs.colours import Colour
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope, new_id
from tenantjobs.errors import KeyTaken, LimitReached
from tenantjobs.limits import KEY, limits_concurrency, pause, permits_for, request
from tenantjobs.outcome import Discarded, Outcome, Retried
from tenantjobs.permits import Grant, Permits, Request, release

logger = logging.getLogger("tenantjobs.limiting")


@runtime_checkable
class GrantsPermits(Protocol):
    """A delivery of a queue that gives and takes permits together with its claims, and not at the door."""

    def granted(self) -> Grant | None:
        """The permit that the claim came with; None if all were taken."""
        ...


def concerns(envelope: Envelope, job: Definition) -> bool:
    """Whether the job has a limit or a rate; not if it was enqueued before it had one."""
    keys = envelope.keys
    return bool(keys) and ((KEY in keys and job.limit is not None) or (rates.KEY in keys and job.rate is not None))


class Limiting:
    """What one attempt has of its permit: from before it starts until it is known what came of it."""

    def __init__(self, envelope: Envelope, job: Definition, io: Colour, delivery: object) -> None:
        self._envelope = envelope
        self._job = job
        self._io = io
        self._delivery = delivery
        self._hold: Hold | None = None

    async def around(self, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Do ``attempt``, and give back what it holds in the end."""
        try:
            return await attempt()
        finally:
            if self._hold is not None:
                self._hold.end()
                if not isinstance(self._delivery, GrantsPermits):
                    await self._io.blocking(release, self._hold.permits, self._hold.request)

    async def enter(self) -> Outcome | None:
        """The attempt starts. Where it may not, because as many run as may: what becomes of it instead."""
        policy = self._job.limit
        if policy is not None and KEY in self._envelope.keys:  # not one that was enqueued before it was limited
            kept_out = await self._permitted(policy)
            if kept_out is not None:
                return kept_out
        return await self._in_time()

    async def _permitted(self, policy: limits_concurrency) -> Outcome | None:
        permits = permits_for(f"job {self._job.name} is limited")
        if isinstance(self._delivery, GrantsPermits):
            grant = self._delivery.granted()
        else:
            grant = await self._io.blocking(_taken, permits, request(policy, self._envelope, new_id()))
        if grant is None:
            return _kept_out(policy, self._envelope)
        self._hold = Hold(permits, grant)
        self._hold.begin()
        return None

    async def _in_time(self) -> Outcome | None:
        """None if it may start now, by its rate; a queue that decides with its claims has done so."""
        policy = self._job.rate
        if policy is None or rates.KEY not in self._envelope.keys or isinstance(self._delivery, GrantsPermits):
            return None
        counted = rates.rates_for(f"job {self._job.name} has a rate")
        wait = await self._io.blocking(counted.start, rates.start(policy, self._envelope))
        if not wait:
            return None
        key = self._envelope.keys[rates.KEY]
        return _later(self._envelope, wait, f"waits for the rate {key}", key)

    async def keep(self) -> None:
        """Something is about to be committed; ``KeyTaken`` if another one may run in the place of this one by now."""
        if self._hold is not None and await self._io.blocking(self._hold.lost):
            raise KeyTaken(
                f"its permit ran out after {self._hold.request.seconds:g} s without a sign of life: it is rolled back"
            )


class Hold:
    """A permit that is renewed on a thread of its own for as long as it is held."""

    def __init__(self, permits: Permits, grant: Grant) -> None:
        self.permits = permits
        self.request = grant.request
        self._ended = threading.Event()
        # By this clock it never lasts longer than by that of its keeper.
        self._renewed = grant.since

    def begin(self) -> None:
        threading.Thread(target=self._renew, name=f"tenantjobs-permit-{self.request.owner}", daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def lost(self) -> bool:
        """True once another one may have the permit: this process was stopped or starved, or nobody answers."""
        if time.monotonic() - self._renewed < self.request.seconds:
            return False
        try:
            # Where one transaction writes at a time, it may be that of the job: a renewal would wait for it.
            return not (self.permits.holds(self.request) if self.permits.one_writer else self._renewed_now())
        except Exception as error:
            logger.error("job id=%s cannot learn whether it still has its permit: %s", self.request.owner, error)
            return True

    def _renew(self) -> None:
        while not self._ended.wait(self.request.seconds / 3):
            try:
                if not self._renewed_now() and not self._ended.is_set():
                    logger.error("job id=%s has lost its permit to another: it was not renewed", self.request.owner)
                    return
            except Exception as error:
                logger.warning("the permit of job id=%s could not be renewed: %s", self.request.owner, error)

    def _renewed_now(self) -> bool:
        asked = time.monotonic()
        held = self.permits.renew(self.request)
        if held:
            self._renewed = asked
        return held


@asynccontextmanager
async def permitted(wanted: Request, permits: Permits, io: Colour, what: str) -> AsyncIterator[None]:
    """Hold a permit for what is performed in the caller's own scope; ``LimitReached`` if as many run as may."""
    # Where one transaction writes at a time, it is taken in the one that is open: any other would wait for that.
    scope = io.open_transaction(permits) if permits.one_writer else None

    async def do(function: Callable[[object | None], Any]) -> Any:
        return await io.blocking(function, None) if scope is None else await io.settle(scope.run(function))

    hold = Hold(permits, Grant(wanted, time.monotonic()))
    if await do(lambda connection: permits.take([wanted], connection)):
        raise LimitReached(
            f"{what}: {wanted.of} with the key {wanted.key} are running, as many as may: try again when one has ended"
        )
    if scope is None:
        hold.begin()
    try:
        yield
    finally:
        hold.end()
        with suppress(Exception):  # it ends by itself, or with a transaction that takes no more statements
            await do(lambda connection: permits.give_back([wanted], connection))


def _taken(permits: Permits, wanted: Request) -> Grant | None:
    since = time.monotonic()
    return None if permits.take([wanted]) else Grant(wanted, since)


def _kept_out(policy: limits_concurrency, envelope: Envelope) -> Outcome:
    key = envelope.keys[KEY]
    # One that has started before is on its way, and is not given up in the middle.
    if policy.on_conflict == "discard" and envelope.attempt == 1 and envelope.bookmark is None:
        return Discarded(f"{policy.to} with the key {key} were running, as many as may")
    return _later(envelope, pause(envelope), f"waits for the limit {key}", key)


def _later(envelope: Envelope, seconds: float, note: str, key: str) -> Outcome:
    return Retried(envelope.charged(-1), clock.now() + timedelta(seconds=seconds), note=note, waits_for=key)

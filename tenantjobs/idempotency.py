"""An effect that happens once, whatever the queue does: keys in a ledger whose row commits with the work."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, Protocol

import msgspec

from tenantjobs.adapter import HasLedger, keeper
from tenantjobs.errors import ConfigurationError
from tenantjobs.policies import Policy

OnRunning = Literal["skip", "wait", "retry"]


class Claim(msgspec.Struct, frozen=True):
    """A key that is being worked on; ``token`` tells this holder from a later one.

    ``within``: it was taken in a transaction that was open around the work, and ends with that.
    """

    tenant: str
    key: str
    token: str
    within: bool = False


class Ledger(Protocol):
    """Where keys are kept: in the database of the work where it can be, so that both commit together."""

    @property
    def one_writer(self) -> bool:
        """True where one transaction that writes keeps all others from writing, as on SQLite.

        There a key is taken in the transaction that is open around the work, which another one would wait for.
        """
        ...

    def acquire(
        self, tenant: str, key: str, owner: str, lease: float, ttl: float | None, connection: object | None = None
    ) -> Claim | Literal["done", "running"]:
        """Take the key, in the transaction of ``connection`` if there is one, else in a short one of its own.

        The same ``owner`` (the id of a job) takes its own running key over with a new token: its earlier
        attempt is dead, or will be refused. A lease that has run out is free for anybody.
        """
        ...

    def complete(self, claim: Claim, connection: object | None) -> None:
        """Mark the key as done, in the transaction of ``connection`` where it joins; LeaseLost if it is not ours."""
        ...

    def release(self, claim: Claim, connection: object | None = None) -> None:
        """Free the key after a failure, in the transaction of ``connection`` if there is one."""
        ...

    def joins(self, connection: object) -> bool: ...


def ledger_for(what: str) -> Ledger:
    """The ledger of the configured adapter; ``ConfigurationError`` naming ``what`` wants it, if there is none."""
    found = keeper(HasLedger)
    if isinstance(found, HasLedger):
        return found.ledger
    raise ConfigurationError(
        f"{what}, and the adapter {type(found).__name__} has no ledger to keep its key in: configure "
        f"adapter = 'db', or a place for the ledger beside it, [db] or [redis], or do without the key"
    )


class idempotent(Policy):
    """Have the effect of the job once for each ``key`` and tenant.

    ``key`` takes the parameters of what it decorates (a function its arguments, a method its record first, a ``Job``
    class the job first); without one, the job's name and arguments are the key. It is computed at enqueue and
    sealed. The ledger row commits with the job's own session where they share a database: a worker killed before
    that commit has done neither, one killed after it has done both. Elsewhere the row follows the commit: a worker
    killed between the two does the work again. ``ttl`` (seconds or timedelta) forgets a key
    after a while. ``on_running`` says what happens while another job holds the key: ``"retry"`` comes back later,
    ``"wait"`` waits here, ``"skip"`` gives up. ``lease`` (seconds) is how long a dead holder keeps the key from others.
    """

    def __init__(
        self,
        key: Callable[..., object] | None = None,
        *,
        ttl: float | timedelta | None = None,
        on_running: OnRunning = "retry",
        lease: float | timedelta = 900.0,
    ) -> None:
        if key is not None and not callable(key):
            raise ConfigurationError(f"idempotent(key={key!r}): a callable of the job's own parameters is wanted")
        check_on_running("idempotent", on_running)
        self.key = key
        self.ttl = None if ttl is None else seconds_of("idempotent", "ttl", ttl)
        self.on_running: OnRunning = on_running
        self.lease = seconds_of("idempotent", "lease", lease)


def check_on_running(what: str, on_running: object) -> None:
    """``ConfigurationError`` for a way to meet another holder of a key that there is not."""
    if on_running not in ("skip", "wait", "retry"):
        raise ConfigurationError(f"{what}(on_running={on_running!r}): 'skip', 'wait' or 'retry' is wanted")


def seconds_of(what: str, option: str, duration: object) -> float:
    """A duration in seconds; ``ConfigurationError`` for what is none, or is not above 0."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ConfigurationError(f"{what}({option}={duration!r}): seconds above 0, or such a timedelta, are wanted")
    return float(seconds)

"""A job that is not enqueued twice: the policy, and the locks that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, get_args

from tenantjobs import adapter, clock, runtime
from tenantjobs.adapter import Adapter, HasLocks, keeper
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tenantjobs.idempotency import seconds_of
from tenantjobs.locks import Lock, Locks, OnConflict
from tenantjobs.policies import Policy

Until = Literal["until_executing", "until_executed", "until_and_while_executing"]
DAY = 86_400.0


class unique(Policy):
    """Let one job of each ``key`` and tenant into the queue at a time.

    ``"until_executing"``: until it starts, so that what comes while it runs is enqueued. ``"until_executed"``: until it
    is finished, discarded, failed or quarantined, through all of its retries. ``"until_and_while_executing"``: until it
    starts, and no two run at the same time: the second one comes back later, and its attempt is not charged.

    ``key`` takes the parameters of what it decorates (a function its arguments, a method its record first, a ``Job``
    class the job first); without one, the arguments are the key. Two jobs never share a key. It is computed at enqueue
    and sealed. ``ttl`` (seconds or timedelta, a day unless it is said) ends a lock that nobody frees, counted from when
    the job is due: let it be longer than a job waits and runs.

    ``on_conflict`` says what becomes of the second one at the call: ``"discard"`` leaves ``handle.enqueued`` False with
    a ``DuplicateJob`` as its ``enqueue_error``; ``"raise"`` raises that; ``"replace"`` takes the one that waits back,
    and enqueues this one. In a transaction, and in ``perform_all_later``, the handle says what came of each.
    """

    def __init__(
        self,
        until: Until,
        *,
        key: Callable[..., object] | None = None,
        ttl: float | timedelta = DAY,
        on_conflict: OnConflict = "discard",
    ) -> None:
        _check("until", until, get_args(Until))
        _check("on_conflict", on_conflict, get_args(OnConflict))
        if key is not None and not callable(key):
            raise ConfigurationError(f"unique(key={key!r}): a callable of the job's own parameters is wanted")
        self.until: Until = until
        self.key = key
        self.ttl = seconds_of("unique", "ttl", ttl)
        self.on_conflict: OnConflict = on_conflict


def locks_for(what: str) -> Locks:
    """Where the configured adapter keeps locks; ``ConfigurationError`` naming ``what`` wants it, if it has no place."""
    found = keeper(HasLocks)
    if isinstance(found, HasLocks):
        return found.locks
    raise ConfigurationError(
        f"{what}, and the adapter {type(found).__name__} has no ledger to keep its lock in: configure "
        f"adapter = 'db', or a place for the ledger beside it, [db] or [redis], or do without the lock"
    )


def require(policy: unique, name: str, target: Adapter) -> None:
    """Refuse job ``name`` if what ``policy`` asks for cannot be had."""
    locks_for(f"job {name} is @unique")
    if policy.on_conflict == "replace":
        adapter.require(target, "cancel", f"unique(on_conflict='replace') of job {name}")
        if runtime.settings().outbox:
            raise UnsupportedCapability(
                f"unique(on_conflict='replace') of job {name}: outbox = true writes jobs in the application's "
                f"transaction, which cannot take back what waits in a queue elsewhere; use 'discard' or 'raise'"
            )


def waiting_lock(envelope: Envelope, ttl: float) -> Lock:
    """The lock of a job that waits: ``ttl`` seconds longer than until it is due."""
    wait = 0.0 if envelope.due_at is None else max(0.0, (envelope.due_at - clock.now()).total_seconds())
    return _lock("wait", envelope.tenant_id, envelope.keys["unique"], envelope.id, wait + ttl)


def running_lock(tenant_id: str | None, key: str, owner: str, ttl: float) -> Lock:
    """The lock of a job that runs."""
    return _lock("run", tenant_id, key, owner, ttl)


def _lock(kind: str, tenant_id: str | None, key: str, owner: str, seconds: float) -> Lock:
    return Lock(tenant_id or "", f"{kind}:{key}", owner, seconds)


def _check(option: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"unique({option}={value!r}): {', '.join(map(repr, known))} are wanted")

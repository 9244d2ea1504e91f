"""How many jobs of a key run at once: the policy, and the permits that it asks for."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, get_args

from tenantjobs import clock
from tenantjobs.adapter import HasPermits, keeper
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.idempotency import seconds_of
from tenantjobs.permits import Permits, Request, reserved_token
from tenantjobs.policies import Policy

WhenFull = Literal["block", "discard"]

KEY = "limit"  # among the keys of an envelope
DURATION = 180.0
SOONEST, LATEST = 0.5, 10.0  # seconds until a job that a broker delivered asks again for a permit


class limits_concurrency(Policy):
    """Let at most ``to`` jobs of each ``key`` run at once, for each tenant.

    ``key`` takes the parameters of what it decorates (a function its arguments, a method its record first, a ``Job``
    class the job first); without one, all jobs of the class share the limit. ``group`` is a name under which several
    jobs share one; it is the name of the job unless it is said. ``per_tenant=False`` counts over all tenants.

    One that finds ``to`` others running waits (``on_conflict="block"``): it is not charged an attempt, and starts when
    one of them has ended. ``"discard"`` gives it up: at the call, where ``handle.enqueued`` is False with a
    ``LimitReached`` as its ``enqueue_error`` if ``to`` of the key run or wait already; else when it would start.

    ``duration`` (seconds or timedelta, three minutes unless it is said) is how long a holder that died keeps the others
    waiting at most, and how long a place that was reserved at the call stays so. A job that runs for longer keeps its
    place; one whose process was stopped for longer has lost it, is rolled back and comes again.
    """

    def __init__(
        self,
        *,
        to: int = 1,
        key: Callable[..., object] | None = None,
        group: str | None = None,
        duration: float | timedelta = DURATION,
        on_conflict: WhenFull = "block",
        per_tenant: bool = True,
    ) -> None:
        if type(to) is not int or to < 1:
            raise ConfigurationError(f"limits_concurrency(to={to!r}): a whole number from 1 on is wanted")
        if key is not None and not callable(key):
            raise ConfigurationError(
                f"limits_concurrency(key={key!r}): a callable of the job's own parameters is wanted; a name that jobs "
                f"share is group="
            )
        if group is not None and not _is_text(group):
            raise ConfigurationError(f"limits_concurrency(group={group!r}): a text that is not empty is wanted")
        known = get_args(WhenFull)
        if on_conflict not in known:
            raise ConfigurationError(
                f"limits_concurrency(on_conflict={on_conflict!r}): one of {', '.join(map(repr, known))} is wanted"
            )
        if not isinstance(per_tenant, bool):
            raise ConfigurationError(f"limits_concurrency(per_tenant={per_tenant!r}): True or False is wanted")
        self.to = to
        self.key = key
        self.group = group
        self.duration = seconds_of("limits_concurrency", "duration", duration)
        self.on_conflict: WhenFull = on_conflict
        self.per_tenant = per_tenant


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def permits_for(what: str) -> Permits:
    """Where the configured adapter keeps permits; ``ConfigurationError`` naming ``what`` wants them, if nowhere."""
    found = keeper(HasPermits)
    if isinstance(found, HasPermits):
        return found.permits
    raise ConfigurationError(
        f"{what}, and the adapter {type(found).__name__} has no ledger to count its jobs in: configure "
        f"adapter = 'db', or a database for the ledger in [db] (a Redis in [redis] keeps keys and locks alone), or do "
        f"without the limit"
    )


def request(policy: limits_concurrency, envelope: Envelope, token: str) -> Request:
    """The permit for one execution of the job."""
    return Request(envelope.keys[KEY], policy.to, envelope.tenant_id or "", envelope.id, token, policy.duration)


def reservation(policy: limits_concurrency, envelope: Envelope) -> Request | None:
    """What it is to have before it is enqueued; None if whether it may run is decided when its turn comes."""
    is_due = envelope.due_at is None or envelope.due_at <= envelope.enqueued_at
    if policy.on_conflict == "block" or not is_due:
        return None
    return request(policy, envelope, reserved_token(envelope.id))


def pause(envelope: Envelope) -> float:
    """Seconds until a job that a broker delivered asks again: a part of the time that it has waited.

    So that one that waits briefly starts promptly, and many that wait for long do not keep workers busy with asking.
    """
    waited = (clock.now() - envelope.enqueued_at).total_seconds()
    return min(max(SOONEST, waited / 8), LATEST) * random.uniform(0.75, 1.0)

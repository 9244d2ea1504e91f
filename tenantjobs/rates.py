"""How many jobs of a key start in a stretch of time: the policy, and what it asks the keeper of starts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import msgspec

from tenantjobs.adapter import HasRates, keeper
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tenantjobs.idempotency import seconds_of
from tenantjobs.policies import Policy

KEY = "rate"  # among the keys of an envelope
MOST = 10_000


class limits_rate(Policy):
    """Let at most ``to`` jobs of each ``key`` start in any ``per`` (seconds or timedelta), for each tenant.

    ``burst`` is how many of them may start at once, all of ``to`` unless it is said: with 60 per minute and a burst of
    10, no more than ten start in any ten seconds. ``key``, ``group`` and ``per_tenant`` are those of
    ``limits_concurrency``.

    One that comes too soon waits for its moment: it is not charged an attempt, and its order among those that wait is
    kept on the queue ``db``. Where there is no place to count starts in, the job is refused at the call.
    """

    def __init__(
        self,
        *,
        to: int,
        per: float | timedelta,
        key: Callable[..., object] | None = None,
        group: str | None = None,
        burst: int | None = None,
        per_tenant: bool = True,
    ) -> None:
        if type(to) is not int or not 1 <= to <= MOST:
            raise ConfigurationError(
                f"limits_rate(to={to!r}): a whole number from 1 to {MOST} is wanted; say more of them by a shorter per="
            )
        if burst is not None and (type(burst) is not int or not 1 <= burst <= to):
            raise ConfigurationError(f"limits_rate(burst={burst!r}): a whole number from 1 to to={to} is wanted")
        if key is not None and not callable(key):
            raise ConfigurationError(
                f"limits_rate(key={key!r}): a callable of the job's own parameters is wanted; a name that jobs share "
                f"is group="
            )
        if group is not None and not _is_text(group):
            raise ConfigurationError(f"limits_rate(group={group!r}): a text that is not empty is wanted")
        if not isinstance(per_tenant, bool):
            raise ConfigurationError(f"limits_rate(per_tenant={per_tenant!r}): True or False is wanted")
        self.to = to
        self.seconds = seconds_of("limits_rate", "per", per)
        self.key = key
        self.group = group
        self.burst = to if burst is None else burst
        self.per_tenant = per_tenant


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


class Start(msgspec.Struct, frozen=True):
    """A job that wants to start, as one of ``to`` in any ``seconds``, and of ``burst`` in its part of them."""

    key: str
    tenant: str
    owner: str
    to: int
    seconds: float
    burst: int

    @property
    def burst_seconds(self) -> float:
        return self.seconds * self.burst / self.to


class Rates(Protocol):
    """Where starts are counted: beside the ledger of keys."""

    def start(self, wanted: Start) -> float:
        """Count it, if it may start: 0. Else nothing is counted, and it is the seconds until it may be asked again.

        There are never more than the rate allows, whatever others do at the same moment.
        """
        ...


def rates_for(what: str) -> Rates:
    """Where the configured adapter counts starts; ``UnsupportedCapability`` naming ``what`` wants it, if nowhere."""
    found = keeper(HasRates)
    if isinstance(found, HasRates):
        return found.rates
    raise UnsupportedCapability(
        f"{what}, and the adapter {type(found).__name__} has nothing to count starts in: configure adapter = 'db', or "
        f"a database for the ledger in [db] (a Redis in [redis] keeps keys and locks alone), or do without the rate"
    )


def start(policy: limits_rate, envelope: Envelope) -> Start:
    """What one execution of the job asks for."""
    return Start(envelope.keys[KEY], envelope.tenant_id or "", envelope.id, policy.to, policy.seconds, policy.burst)

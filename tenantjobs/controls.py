"""What operators say of a queue, a tenant or a job, and how much waits in each: the words of every such queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

import msgspec

Kind = Literal["queue", "tenant", "job"]

WINDOW = 300.0  # seconds in which shares are counted

# Takes nothing new; has some of its rows yet; has none, and takes nothing at all.
Closed = Literal["draining", "purging", "purged"]


class Rate(msgspec.Struct, frozen=True):
    """So many jobs start in ``seconds``, and no more."""

    to: int
    seconds: float


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one queue, tenant or job. What follows ``reason``, which is that of a pause, is of a tenant."""

    kind: Kind
    name: str
    paused_at: datetime | None = None
    reason: str | None = None
    weight: float | None = None
    cap: int | None = None
    rate: Rate | None = None
    closed: Closed | None = None
    closed_at: datetime | None = None
    closed_for: str | None = None

    @property
    def paused(self) -> bool:
        return self.paused_at is not None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of one queue or tenant that are not over, ``name``, which is "" for jobs of no tenant.

    ``ready`` may start now, ``scheduled`` are due later, ``blocked`` wait for a limit or for their class to be
    resumed, ``running`` are claimed; of a tenant, ``outbox`` are on their way here. ``lag`` is for how many seconds the
    first of the ready ones could have started.
    """

    name: str
    ready: int = 0
    scheduled: int = 0
    blocked: int = 0
    running: int = 0
    failed: int = 0
    outbox: int = 0
    lag: float | None = None

    @property
    def unfinished(self) -> int:
        """How many run, or will. What has failed waits for people."""
        return self.ready + self.scheduled + self.blocked + self.running + self.outbox


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant had of the jobs that started lately: of all of them, and of what its weight entitles it to.

    Both are parts of 1. A tenant that has little to do has less than it is entitled to, and the others have the rest.
    """

    name: str
    started: int
    share: float
    entitled: float


class Controls(Protocol):
    """Says it, and reads it. It holds for every worker from its next claim on; what runs is left to run."""

    def pause(self, kind: Kind, name: str, *, reason: str | None = None) -> bool:
        """Have no more jobs of it start until it is resumed; False if it was paused already."""
        ...

    def resume(self, kind: Kind, name: str) -> bool:
        """Have its jobs start again; False if it was not paused."""
        ...

    def set_weight(self, tenant: object, weight: float | None) -> None:
        """How many jobs a tenant starts where another one starts one; None for 1 again."""
        ...

    def set_cap(self, tenant: object, cap: int | None) -> None:
        """How many jobs of a tenant run at once, at most; None for any number."""
        ...

    def set_rate(self, tenant: object, to: int | None, per: float | timedelta = 60.0) -> None:
        """How many jobs of a tenant start in any ``per`` seconds, at most; None for any number."""
        ...

    def drain(self, tenant: object, *, reason: str | None = None) -> bool:
        """Take nothing new for a tenant, and let what it has run out; False if it was closed already."""
        ...

    def open(self, tenant: object, *, purged: bool = False) -> bool:
        """Take jobs for a tenant again; False if it was not closed.

        ``purged`` says that the id of a tenant that was purged belongs to another one by now: else ``TenantGone``.
        """
        ...

    def closed(self, tenants: Collection[str]) -> Collection[str]:
        """Those of ``tenants``, by their ids, for which nothing would be taken from who asks now."""
        ...

    def find(self, kind: Kind, name: str) -> Control | None:
        """What is said of one, also of a tenant that is purged; None for nothing."""
        ...

    def all(self) -> Sequence[Control]:
        """Everything that is said, by kind and name; nothing of tenants that are purged."""
        ...

    def lines(self, kind: Literal["queue", "tenant"]) -> Sequence[Line]:
        """How much waits in each queue, or for each tenant, by name; those without unfinished jobs are left out."""
        ...

    def line(self, kind: Literal["queue", "tenant"], name: str) -> Line:
        """The same of one of them."""
        ...

    def shares(self, window: float = WINDOW, lines: Sequence[Line] | None = None) -> Sequence[Share] | None:
        """Of each tenant that has started jobs in the last ``window`` seconds, or could start some, by name.

        None where jobs that are finished are not kept, so that nobody knows. ``lines`` are those of tenants, where they
        have been counted already.
        """
        ...


@runtime_checkable
class HasControls(Protocol):
    """A queue that operators can pause, and where tenants have shares."""

    @property
    def controls(self) -> Controls: ...

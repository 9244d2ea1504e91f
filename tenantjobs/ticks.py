"""The port of the ticks of recurring jobs: which of them have been enqueued, and how far each entry has come."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from tenantjobs import adapter, runtime
from tenantjobs.errors import ConfigurationError


class Tick(msgspec.Struct, frozen=True):
    """One time of an entry, for one tenant, or for none (``""``).

    ``period`` tells it from the others: the time as it was meant, on the clock of a tenant that has one of its own.
    """

    key: str
    tenant: str
    period: str
    at: datetime


class State(msgspec.Struct, frozen=True):
    """How far an entry has come: nothing up to ``planned_at`` is to be enqueued any more.

    ``entry`` is what a dynamic one says, as JSON; None for one of the file.
    """

    planned_at: datetime
    paused: bool = False
    entry: str | None = None
    last_at: datetime | None = None  # of the last tick that was enqueued


class Ticks(Protocol):
    """Where schedulers meet: in one database."""

    def states(self) -> Mapping[str, State]:
        """All entries that are known, by key."""
        ...

    def begin(self, key: str, moment: datetime) -> None:
        """Let an entry that is not known yet begin at ``moment``."""
        ...

    def advance(self, key: str, moment: datetime, *, enqueued: datetime | None = None) -> None:
        """Everything up to ``moment`` is done with, the last time at ``enqueued``; never goes back."""
        ...

    def untaken(self, ticks: Sequence[Tick]) -> list[Tick]:
        """Those that nobody has taken, as far as can be seen; only reads."""
        ...

    def take(self, ticks: Sequence[Tick], connection: object) -> Collection[Tick]:
        """Those that are ours, when the transaction of ``connection`` commits: nobody else gets them."""
        ...

    def pause(self, key: str, moment: datetime) -> None: ...
    def resume(self, key: str, moment: datetime) -> None:
        """Go on from ``moment``: what came due meanwhile is left out."""
        ...

    def put(self, key: str, entry: str, moment: datetime) -> None:
        """Write a dynamic entry, or write it anew; it begins at ``moment``."""
        ...

    def remove(self, key: str) -> None: ...


@runtime_checkable
class HasTicks(Protocol):
    """A database for ticks, which the adapter brings along."""

    @property
    def ticks(self) -> Ticks: ...
    def transaction(self) -> AbstractContextManager[object]: ...


def keeper() -> HasTicks:
    """Who keeps the ticks: the configured adapter, or the database in ``[db]`` beside it."""
    found = adapter.keeper(HasTicks)
    if not isinstance(found, HasTicks):
        raise ConfigurationError(
            f"recurring jobs have to be remembered, so that many schedulers enqueue each tick once, and the adapter "
            f"{runtime.settings().adapter!r} has no place for that: name a database beside it, as [db] url or [db] "
            f"engine, and run `tenantjobs db upgrade`"
        )
    return found

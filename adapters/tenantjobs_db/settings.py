"""The section ``[db]`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the queue lives, and how long things last; times are seconds.

    ``engine`` is the application's own engine, or where to import it from (``"shop.db:engine"``): jobs are then written
    in the application's transactions. ``url`` alone is a database of the queue's own; beside ``engine`` it is what
    workers connect to, where that cannot be told from the engine. With ``outbox = true`` both are databases of their
    own: ``engine`` that of the application and the outbox, ``url`` that of the queue.
    """

    url: str | None = None
    engine: Any = None
    lease: Positive = 60.0  # how long a silent process keeps its jobs
    max_deaths: Annotated[int, msgspec.Meta(ge=0)] = 3  # processes that may die with a job before it counts as failed
    reserve: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2  # of a worker's slots, kept from a single tenant's jobs
    keep_finished: NotNegative | bool = 86_400.0  # finished jobs; 0 or false: gone at once, true: kept for ever
    failed_retention: Positive | None = None  # failed and quarantined jobs that ended longer ago are forgotten
    failed_retention_count: Annotated[int, msgspec.Meta(ge=1)] | None = None  # so many of them are kept, the latest
    queue_file: str | None = None  # which processes `tenantjobs work` runs; config/queue.yml if that is there
    keep_inbox: Positive = 604_800.0  # how long a job that another queue delivers is known to have had its effect
    synchronous: Literal["FULL", "NORMAL"] = "FULL"  # SQLite: NORMAL may lose the last commits when the power fails
    notify: bool = True  # PostgreSQL: NOTIFY wakes a worker that is asleep; false: it polls
    busy_timeout: NotNegative = 10.0  # SQLite: how long a writer waits for another

    @property
    def keeps_finished(self) -> bool:
        return self.keep_finished is True or self.keep_finished > 0

    @property
    def forgotten_after(self) -> float | None:
        """The age in seconds at which finished and discarded jobs are pruned; None for never."""
        return None if self.keep_finished is True else float(self.keep_finished)

"""The port of a queue that people can keep in order: which jobs it has, and what is done about them by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import msgspec

from tenantjobs.controls import Line
from tenantjobs.errors import TenantjobsError
from tenantjobs.running import JobContext
from tenantjobs.view import OVER, RUNNING, WAITING, JobFilter, JobView, KeptResult

Verb = Literal["retry", "discard", "cancel", "run_now", "clear"]
BATCH = 500  # jobs of one transaction
AT_ONCE = 10_000  # jobs of one look, or of one transaction, at most: each is a parameter of a statement

#: In which states a job can be what.
POSSIBLE: Mapping[Verb, tuple[str, ...]] = {
    "retry": ("failed", "quarantined"),
    "discard": (*WAITING, "failed", "quarantined"),
    "cancel": (*WAITING, RUNNING),
    "run_now": ("scheduled",),
    "clear": OVER,
}
#: Which states are meant where a filter says nothing of them.
MEANT: Mapping[Verb, tuple[str, ...]] = {
    **POSSIBLE,
    "retry": ("failed",),  # what is in quarantine has been put there for a reason
    "clear": ("finished", "discarded"),  # what has failed stays until someone decides
}


MISSING = (
    "there is no job {} in the queue: it was not enqueued here, its transaction is open still, or it is over and "
    "forgotten (keep_finished in [db] says after how long)"
)


class Change(msgspec.Struct, frozen=True):
    """A job about which something was done; ``data`` is its envelope, as far as it is one."""

    job: JobContext
    data: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one transaction. ``told`` are jobs that run, and will hear of it; ``refused`` says by the id why it
    could not be done; ``last`` is the id of the last job that was looked at, None if there are no more.
    """

    changed: tuple[Change, ...] = ()
    told: tuple[Change, ...] = ()
    refused: Mapping[str, TenantjobsError] = {}
    last: str | None = None


class JobStats(msgspec.Struct, frozen=True, kw_only=True):
    """What there is. ``states`` counts jobs by their state; ``queues``, ``tenants`` and ``jobs`` are the unfinished.

    ``oldest`` says by the state for how many seconds the first one is in it: of the ready ones, for how long it could
    have started, and of those that are scheduled or blocked, since when it is in the queue. ``ended`` counts by their
    state the jobs that came to an end in the last ``window`` seconds, as far as those are kept, and ``enqueued`` those
    that came.
    """

    at: datetime
    window: float
    states: Mapping[str, int]
    queues: tuple[Line, ...]
    tenants: tuple[Line, ...]
    jobs: tuple[Line, ...]
    oldest: Mapping[str, float]
    enqueued: int
    ended: Mapping[str, int]


class JobStore(Protocol):
    """Jobs of all tenants: who may see which is for the caller to say."""

    def find(self, job_id: str) -> JobView | None:
        """The job of this id, with all that is known of it; None if there is none, or none any more."""
        ...

    def result(self, job_id: str) -> KeptResult | None:
        """What the job has returned, as it is kept; None if there is no job of this id, or none any more."""
        ...

    def page(
        self, which: JobFilter, *, after: str | None = None, limit: int = 100, newest_first: bool = False
    ) -> Sequence[JobView]:
        """The next jobs behind the id ``after``, in the order of their ids, which is that of their making."""
        ...

    def count(self, which: JobFilter) -> int:
        """How many there are."""
        ...

    def stats(self, which: JobFilter, *, window: float) -> JobStats:
        """What there is of them."""
        ...

    def change(
        self, verb: Verb, which: JobFilter, *, after: str | None = None, limit: int = BATCH, reason: str | None = None
    ) -> Changes:
        """Do it about the next jobs behind the id ``after``, in one transaction."""
        ...


@runtime_checkable
class KeepsJobs(Protocol):
    """A queue whose jobs can be listed, counted and changed by hand."""

    @property
    def stored(self) -> JobStore: ...

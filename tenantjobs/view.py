"""A job, or a process, as its queue shows it to people."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from tenantjobs.errors import ConfigurationError
from tenantjobs.progress import Progress
from tenantjobs.spelling import nearest

WAITING = ("ready", "scheduled", "blocked")
OVER = ("finished", "discarded", "failed", "quarantined")
RUNNING = "running"
STATES = (*WAITING, RUNNING, *OVER)
CLAIMED = "claimed"  # the database's word for a job that runs, which is taken for it


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs: those for which all that is said holds. Nothing said is all of them.

    ``tenant`` is "" for jobs of no tenant. ``error`` is the class that the last failed attempt has raised, by its name
    or with its module; ``worker`` the id or the pid of the process in which a job runs; ``batch`` the id of a batch.
    The moments are from (``after``) and before (``before``), ``finished`` those of the end, whichever it was.
    """

    ids: tuple[str, ...] | None = None
    states: tuple[str, ...] = ()
    tenant: str | None = None
    queue: str | None = None
    job: str | None = None
    enqueued_after: datetime | None = None
    enqueued_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    error: str | None = None
    worker: str | None = None
    batch: str | None = None

    def __post_init__(self) -> None:
        if CLAIMED in self.states:
            said = tuple(RUNNING if state == CLAIMED else state for state in self.states)
            msgspec.structs.force_setattr(self, "states", said)
        for state in self.states:
            if state not in STATES:
                meant = nearest(state, STATES)
                hint = f"did you mean {meant!r}?" if meant else f"the states are {', '.join(STATES)}"
                raise ConfigurationError(f"{state!r} is no state of a job: {hint}")


class FailedAttempt(msgspec.Struct, frozen=True):
    """What an attempt has raised, and whether another one followed by itself."""

    attempt: int
    at: datetime
    error_class: str
    message: str
    traceback: str
    retried: bool


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job stands. ``attempts`` have been charged so far, and ``worker`` is what it runs in.

    ``waits_for`` says in words what keeps it from running; None while it runs, and when it is over. ``history`` has all
    attempts that failed, the oldest first, also those before a retry by hand, after which they are counted anew. The
    jobs of a list come without both.
    """

    id: str
    name: str
    state: str
    queue: str
    priority: int
    tenant_id: str | None
    attempts: int
    enqueued_at: datetime
    due_at: datetime | None
    claimed_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    waits_for: str | None
    reason: str | None
    progress: Progress | None
    last_error: FailedAttempt | None
    history: tuple[FailedAttempt, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.state in OVER


class KeptResult(msgspec.Struct, frozen=True, kw_only=True):
    """A job as far as its result goes; ``text`` is what it returned, as it is kept, None if there is none."""

    id: str
    name: str
    tenant_id: str | None
    state: str
    reason: str | None = None
    text: str | None = None


@runtime_checkable
class KeepsResults(Protocol):
    """A queue that keeps what jobs have returned, as long as it keeps the jobs: it declares ``results``."""

    def result(self, job_id: str) -> KeptResult | None:
        """What is known of a job; None if there is none of this id, or none any more."""
        ...


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a job waits for. ``text`` says it to people, and stands beside "it waits for".

    ``kind``: ``paused``, ``cap``, ``permit``, ``rate``, ``due``, ``turn``, ``broker`` or ``no_worker``. ``of`` is the
    queue, the tenant, the job or the limit that it is about, ``by`` the ids of the jobs that it waits for, ``until``
    when it is over by itself, and ``ahead`` how many jobs are before it.
    """

    kind: str
    text: str
    of: str | None = None
    by: tuple[str, ...] = ()
    until: datetime | None = None
    ahead: int | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job waits: every reason that holds now, the one to be removed first in front; none if it does not wait."""

    id: str
    state: str
    tenant_id: str | None
    queue: str
    reasons: tuple[Reason, ...]

    @property
    def waits(self) -> bool:
        return bool(self.reasons)


@runtime_checkable
class ExplainsJobs(Protocol):
    """A queue that knows why a job waits."""

    def explain(self, job_id: str) -> Explanation | None:
        """Why the job of this id waits; None if there is no such job, or none any more."""
        ...


@runtime_checkable
class ShowsJobs(Protocol):
    """A queue that people can look into."""

    def show(self, job_id: str) -> JobView | None:
        """The job of this id; None if there is none, or none any more."""
        ...


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """A process that works on a queue. ``heartbeat_age`` is in seconds; one that is not ``alive`` has been silent for
    longer than its lease. ``threads`` and ``queues`` are those of a worker, ``running`` the jobs that it has.
    """

    id: str
    kind: str
    host: str
    pid: int
    supervisor: str | None
    started_at: datetime
    heartbeat_age: float
    alive: bool
    threads: int | None
    queues: tuple[str, ...]
    running: int


@runtime_checkable
class ShowsProcesses(Protocol):
    """A queue that knows who works on it."""

    def processes(self) -> list[ProcessView]:
        """All processes that have not signed off, supervisors before theirs."""
        ...

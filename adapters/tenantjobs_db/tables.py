"""The tables as they are at the current version of the schema; ``steps`` says how a database gets there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    bindparam,
    case,
    event,
    literal_column,
    or_,
    text,
)

from tenantjobs_db.columns import MYSQL, Id, LongText, Moment, Name, Real, Word

CANCELLED = "cancelled"  # the reason of a job that was taken back: a batch takes it for one that was never there
READY = "ready"  # may be claimed
SCHEDULED = "scheduled"  # waits for due_at
BLOCKED = "blocked"  # waits for a permit, or for its class to be resumed, as its row in tj_blocked says
CLAIMED = "claimed"  # a process has it
FINISHED = "finished"
DISCARDED = "discarded"  # given up on purpose; reason says why
FAILED = "failed"  # stays until someone decides
QUARANTINED = "quarantined"  # may not be run here; reason says why, the data is untouched

PRUNED = (FINISHED, DISCARDED)

metadata = MetaData()


def _partial(name: str, *columns: str, where: str, whole: Sequence[str]) -> tuple[Index, ...]:
    """The index of the rows ``where``; in a database without partial indexes, on the columns ``whole`` of all rows."""
    partial = Index(name, *columns).ddl_if(callable_=lambda *_arguments, dialect, **_others: dialect.name not in MYSQL)

    @event.listens_for(partial, "before_create")
    def say_where(index: Index, connection: Connection, **_others: object) -> None:
        # Not before: SQLAlchemy loads its part for each database that an index is told something of.
        index.dialect_kwargs[f"{connection.dialect.name}_where"] = text(where)

    if not whole:
        return (partial,)
    return partial, Index(name, *whole).ddl_if(callable_=lambda *_arguments, dialect, **_others: dialect.name in MYSQL)


jobs = Table(
    "tj_jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("queue", Name, nullable=False),
    Column("tenant", Name, nullable=False),  # '' for a job without a tenant
    Column("name", Name, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Word, nullable=False),
    Column("attempt", Integer, nullable=False),  # executions so far
    Column("deaths", Integer, nullable=False, server_default=text("0")),  # processes that died with it
    Column("fence", BigInteger, nullable=False, server_default=text("0")),  # claims so far
    Column("claimed_by", Id),  # tj_processes.id while it is claimed, and only then
    Column("claimed_at", Moment),
    Column("enqueued_at", Moment, nullable=False),
    Column("due_at", Moment),
    Column("finished_at", Moment),  # when it came to its end, whichever
    Column("reason", LongText),
    Column("data", LongText, nullable=False),  # the envelope
    *_partial(
        "tj_jobs_ready",
        *("queue", "tenant", "priority", "id"),
        where="state = 'ready'",
        whole=("state", "queue", "tenant", "priority", "id"),
    ),
    *_partial("tj_jobs_scheduled", "due_at", "id", where="state = 'scheduled'", whole=("state", "due_at", "id")),
    *_partial("tj_jobs_claimed", "claimed_by", where="state = 'claimed'", whole=("claimed_by",)),
    *_partial(
        "tj_jobs_pruned",
        "finished_at",
        where="state = 'finished' OR state = 'discarded'",
        whole=("state", "finished_at"),
    ),
    *_partial("tj_jobs_failed", "finished_at", where="state = 'failed' OR state = 'quarantined'", whole=()),
)

failures = Table(
    "tj_failures",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failed_at", Moment, nullable=False),
    Column("error_class", LongText, nullable=False),
    Column("message", LongText, nullable=False),
    Column("traceback", LongText, nullable=False),
    Column("retried", Boolean, nullable=False),
    Index("tj_failures_job", "job_id"),
)

processes = Table(
    "tj_processes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Word, nullable=False),
    Column("host", LongText, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),  # the lease of everything it has claimed
)

ledger = Table(
    "tj_ledger",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("owner", Name, nullable=False),  # the job at work on it
    Column("token", Name, nullable=False),  # tells this holder from a later one
    Column("state", Word, nullable=False),  # running | done
    Column("ttl", Real),  # seconds that a done key is remembered; NULL for ever
    Column("lease_until", Moment, nullable=False),
    Column("expires_at", Moment),
    Index("tj_ledger_expires", "expires_at"),
)

locks = Table(
    "tj_locks",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("owner", Id, nullable=False),  # the job that has it
    Column("expires_at", Moment, nullable=False),
    Index("tj_locks_owner", "owner"),
    Index("tj_locks_expires", "expires_at"),
)

permits = Table(
    "tj_permits",
    metadata,
    Column("key", Name, primary_key=True),  # with the tenant, if it is one of a tenant's
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 0 on
    Column("tenant", Name, nullable=False),  # of the job that holds it
    Column("owner", Id, nullable=False),  # that job
    Column("token", Name, nullable=False),  # the execution, or that the job has reserved it
    Column("expires_at", Moment, nullable=False),
    Index("tj_permits_owner", "owner"),
    Index("tj_permits_expires", "expires_at"),
)

blocked = Table(
    "tj_blocked",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("key", Name, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("permits", Integer, nullable=False),  # how many there were of the key
    Column("blocked_at", Moment, nullable=False),
    Index("tj_blocked_key", "key", "priority", "job_id"),
)

rates = Table(
    "tj_rates",
    metadata,
    Column("key", Name, primary_key=True),  # with the tenant, if it is one of a tenant's
    Column("tenant", Name, nullable=False),
    Column("number", BigInteger, nullable=False),  # of the next start
    Column("allowed", Integer),  # starts in any so many seconds, as the last job had it
    Column("seconds", Real),
    Column("burst", Integer),
    Column("let_out_until", Moment),  # waiting jobs have been given the moments before this
    Column("expires_at", Moment, nullable=False),
    Index("tj_rates_expires", "expires_at"),
)

starts = Table(
    "tj_starts",
    metadata,
    Column("key", Name, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("started_at", Moment, nullable=False),
)

controls = Table(
    "tj_controls",
    metadata,
    Column("kind", Word, primary_key=True),  # queue | tenant | job
    Column("name", Name, primary_key=True),
    Column("paused_at", Moment),  # NULL where it is not
    Column("reason", LongText),  # of the pause
    Column("weight", Real),  # NULL for 1
    Column("cap", Integer),  # how many of its jobs run at once
    Column("rate", Integer),  # how many of its jobs start in rate_seconds
    Column("rate_seconds", Real),
    Column("changed_at", Moment, nullable=False),
)

closed = Table(
    "tj_closed",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("state", Word, nullable=False),  # draining | purging | purged: its tombstone
    Column("reason", LongText),
    Column("closed_at", Moment, nullable=False),  # when it came into this state
)

serving = Table(
    "tj_serving",
    metadata,
    Column("process", Id, primary_key=True),
    Column("queues", LongText, nullable=False),  # JSON: as the worker was told
    Column("slots", Integer, nullable=False),  # jobs at a time
    Column("several_at", Moment),  # when it last knew of more than one tenant with work
)

outbox = Table(
    "tj_outbox",
    metadata,
    Column("id", Id, primary_key=True),  # of the job: what it is known by in any queue
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # attempts to publish it by itself
    Column("written_at", Moment, nullable=False),
    Column("relay_at", Moment, nullable=False),  # until then whoever wrote or claimed it may publish it undisturbed
    Column("error", LongText),  # why it could not be published the last time
    Column("data", LongText, nullable=False),  # the envelope
    Index("tj_outbox_relay", "relay_at", "id"),
)

inbox = Table(
    "tj_inbox",
    metadata,
    Column("id", Id, primary_key=True),  # of the job
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("done_at", Moment, nullable=False),
    Index("tj_inbox_done", "done_at"),
)

progress = Table(
    "tj_progress",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("done", Real, nullable=False),
    Column("total", Real),  # NULL where it is not known
    Column("told_at", Moment, nullable=False),
)

cancellations = Table(
    "tj_cancellations",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("asked_at", Moment, nullable=False),
)

results = Table(
    "tj_results",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("result", LongText, nullable=False),  # JSON, or what is encrypted
)

batches = Table(
    "tj_batches",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", Name, nullable=False),  # '' for one without a tenant
    Column("description", LongText),
    Column("properties", LongText, nullable=False),  # JSON
    Column("parent", Id),  # the batch that it is nested in
    Column("on_success", LongText),  # jobs that are sealed already
    Column("on_failure", LongText),
    Column("on_finish", LongText),
    Column("closed", Boolean, nullable=False),  # it is filled
    Column("created_at", Moment, nullable=False),
    Column("failed_at", Moment),  # when the first of its jobs had failed
    Column("finished_at", Moment),
    Index("tj_batches_finished", "finished_at"),
)

batch_jobs = Table(
    "tj_batch_jobs",
    metadata,
    Column("batch", Id, primary_key=True),
    Column("job", Id, primary_key=True),  # or the id of a batch that is nested in it
    Column("kind", Word, nullable=False),  # job | batch | callback
    Column("state", Word, nullable=False),  # pending | done | failed; of a callback also due | sent
    Index("tj_batch_jobs_job", "job"),
    *_partial("tj_batch_jobs_unfinished", "batch", "state", where="state <> 'done'", whole=("state", "batch")),
)

bookmarks = Table(
    "tj_bookmarks",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("version", Integer, nullable=False),  # how often one was kept for the job
    Column("bookmark", LongText, nullable=False),  # JSON
    Column("kept_at", Moment, nullable=False),
    Index("tj_bookmarks_kept", "kept_at"),
)

recurring = Table(
    "tj_recurring",
    metadata,
    Column("key", Id, primary_key=True),
    Column("entry", LongText),  # JSON of what was scheduled at run time; NULL for an entry of the file
    Column("paused", Boolean, nullable=False),
    Column("planned_at", Moment, nullable=False),  # nothing up to then is to be enqueued any more
    Column("last_at", Moment),  # when it last came due
)

ticks = Table(
    "tj_ticks",
    metadata,
    Column("key", Id, primary_key=True),
    Column("tenant", Name, primary_key=True),  # '' for none
    Column("period", Id, primary_key=True),  # the time as it was meant, or what a tenant's clock showed
    Column("due_at", Moment, nullable=False),
    Column("token", Id, nullable=False),  # tells who has taken it from others
    Column("taken_at", Moment, nullable=False),
    Index("tj_ticks_taken", "taken_at"),
)

schema = Table(
    "tj_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Moment, nullable=False),
)


def in_state(*states: str, table: FromClause = jobs) -> ColumnElement[bool]:
    """A condition on the state of a job as a literal: a partial index is not used for a bound parameter."""
    return or_(*(table.c.state == literal_column(f"'{state}'") for state in states))


def due() -> ColumnElement[datetime]:
    """The parameter ``due``: when a job may run, or NULL for at once."""
    return bindparam("due", type_=jobs.c.due_at.type)


def due_state(due_at: ColumnElement[datetime], now: ColumnElement[datetime]) -> ColumnElement[str]:
    """Scheduled if ``due_at`` lies in the future, else ready."""
    return _scheduled_if(due_at > now)


def waiting_state(wait: ColumnElement[float]) -> ColumnElement[str]:
    """The same for a job that is to wait for so many seconds from now on."""
    return _scheduled_if(wait > 0)


def _scheduled_if(condition: ColumnElement[bool]) -> ColumnElement[str]:
    return case((condition, literal_column(f"'{SCHEDULED}'")), else_=literal_column(f"'{READY}'"))

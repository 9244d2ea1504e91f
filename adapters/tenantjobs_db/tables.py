"""The tables as they are at the current version of the schema; ``steps`` says how a database gets there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    FromClause,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    case,
    literal_column,
    or_,
    text,
)

from tenantjobs_db.columns import Moment, Name

READY = "ready"  # may be claimed
SCHEDULED = "scheduled"  # waits for due_at
BLOCKED = "blocked"  # waits for a permit, as its row in tj_blocked says
CLAIMED = "claimed"  # a process has it
FINISHED = "finished"
DISCARDED = "discarded"  # given up on purpose; reason says why
FAILED = "failed"  # stays until someone decides
QUARANTINED = "quarantined"  # may not be run here; reason says why, the data is untouched

PRUNED = (FINISHED, DISCARDED)

metadata = MetaData()


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


jobs = Table(
    "tj_jobs",
    metadata,
    Column("id", Name, primary_key=True),
    Column("queue", Name, nullable=False),
    Column("tenant", Name, nullable=False),  # '' for a job without a tenant
    Column("name", Name, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Name, nullable=False),
    Column("attempt", Integer, nullable=False),  # executions so far
    Column("deaths", Integer, nullable=False, server_default=text("0")),  # processes that died with it
    Column("fence", BigInteger, nullable=False, server_default=text("0")),  # claims so far
    Column("claimed_by", Name),  # tj_processes.id while it is claimed, and only then
    Column("claimed_at", Moment),
    Column("enqueued_at", Moment, nullable=False),
    Column("due_at", Moment),
    Column("finished_at", Moment),  # when it came to its end, whichever
    Column("reason", Text),
    Column("data", Text, nullable=False),  # the envelope
    _partial("tj_jobs_ready", "queue", "tenant", "priority", "id", where="state = 'ready'"),
    _partial("tj_jobs_scheduled", "due_at", "id", where="state = 'scheduled'"),
    _partial("tj_jobs_claimed", "claimed_by", where="state = 'claimed'"),
    _partial("tj_jobs_pruned", "finished_at", where="state = 'finished' OR state = 'discarded'"),
    _partial("tj_jobs_failed", "finished_at", where="state = 'failed' OR state = 'quarantined'"),
)

failures = Table(
    "tj_failures",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("job_id", Name, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failed_at", Moment, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("retried", Boolean, nullable=False),
    Index("tj_failures_job", "job_id"),
)

processes = Table(
    "tj_processes",
    metadata,
    Column("id", Name, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("host", Text, nullable=False),
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
    Column("state", Name, nullable=False),  # running | done
    Column("ttl", Float),  # seconds that a done key is remembered; NULL for ever
    Column("lease_until", Moment, nullable=False),
    Column("expires_at", Moment),
    Index("tj_ledger_expires", "expires_at"),
)

locks = Table(
    "tj_locks",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("owner", Name, nullable=False),  # the job that has it
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
    Column("owner", Name, nullable=False),  # that job
    Column("token", Name, nullable=False),  # the execution, or that the job has reserved it
    Column("expires_at", Moment, nullable=False),
    Index("tj_permits_owner", "owner"),
    Index("tj_permits_expires", "expires_at"),
)

blocked = Table(
    "tj_blocked",
    metadata,
    Column("job_id", Name, primary_key=True),
    Column("key", Name, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("permits", Integer, nullable=False),  # how many there were of the key
    Column("blocked_at", Moment, nullable=False),
    Index("tj_blocked_key", "key", "priority", "job_id"),
)

outbox = Table(
    "tj_outbox",
    metadata,
    Column("id", Name, primary_key=True),  # of the job: what it is known by in any queue
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # attempts to publish it by itself
    Column("written_at", Moment, nullable=False),
    Column("relay_at", Moment, nullable=False),  # until then whoever wrote or claimed it may publish it undisturbed
    Column("error", Text),  # why it could not be published the last time
    Column("data", Text, nullable=False),  # the envelope
    Index("tj_outbox_relay", "relay_at", "id"),
)

inbox = Table(
    "tj_inbox",
    metadata,
    Column("id", Name, primary_key=True),  # of the job
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("done_at", Moment, nullable=False),
    Index("tj_inbox_done", "done_at"),
)

progress = Table(
    "tj_progress",
    metadata,
    Column("job_id", Name, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("done", Float, nullable=False),
    Column("total", Float),  # NULL where it is not known
    Column("told_at", Moment, nullable=False),
)

batches = Table(
    "tj_batches",
    metadata,
    Column("id", Name, primary_key=True),
    Column("tenant", Name, nullable=False),  # '' for one without a tenant
    Column("description", Text),
    Column("properties", Text, nullable=False),  # JSON
    Column("parent", Name),  # the batch that it is nested in
    Column("on_success", Text),  # jobs that are sealed already
    Column("on_failure", Text),
    Column("on_finish", Text),
    Column("closed", Boolean, nullable=False),  # it is filled
    Column("created_at", Moment, nullable=False),
    Column("failed_at", Moment),  # when the first of its jobs had failed
    Column("finished_at", Moment),
    Index("tj_batches_finished", "finished_at"),
)

batch_jobs = Table(
    "tj_batch_jobs",
    metadata,
    Column("batch", Name, primary_key=True),
    Column("job", Name, primary_key=True),  # or the id of a batch that is nested in it
    Column("kind", Name, nullable=False),  # job | batch | callback
    Column("state", Name, nullable=False),  # pending | done | failed; of a callback also due | sent
    Index("tj_batch_jobs_job", "job"),
    _partial("tj_batch_jobs_unfinished", "batch", "state", where="state <> 'done'"),
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
    return case((due_at > now, literal_column(f"'{SCHEDULED}'")), else_=literal_column(f"'{READY}'"))

"""Step 1: jobs, their failures, processes, the ledger of keys."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

JOBS = Table(
    "tj_jobs",
    """
    id {id} NOT NULL PRIMARY KEY,
    queue {name} NOT NULL,
    tenant {name} NOT NULL,
    name {name} NOT NULL,
    priority INTEGER NOT NULL,
    state {word} NOT NULL,
    attempt INTEGER NOT NULL,
    deaths INTEGER NOT NULL DEFAULT 0,
    fence BIGINT NOT NULL DEFAULT 0,
    claimed_by {id},
    claimed_at {moment},
    enqueued_at {moment} NOT NULL,
    due_at {moment},
    finished_at {moment},
    reason {text},
    data {text} NOT NULL
""",
    # Partial, so that a job costs only the index of the state that it is in.
    (
        Index(
            "tj_jobs_ready",
            "queue, tenant, priority, id",
            where="state = 'ready'",
            whole="state, queue, tenant, priority, id",
        ),
        Index("tj_jobs_scheduled", "due_at, id", where="state = 'scheduled'", whole="state, due_at, id"),
        Index("tj_jobs_claimed", "claimed_by", where="state = 'claimed'"),
        Index(
            "tj_jobs_pruned",
            "finished_at",
            where="state = 'finished' OR state = 'discarded'",
            whole="state, finished_at",
        ),
        Index(
            "tj_jobs_failed",
            "finished_at",
            where="state = 'failed' OR state = 'quarantined'",
            whole="",  # tj_jobs_pruned has all states there
        ),
    ),
)

FAILURES = Table(
    "tj_failures",
    """
    id {serial},
    job_id {id} NOT NULL,
    tenant {name} NOT NULL,
    attempt INTEGER NOT NULL,
    failed_at {moment} NOT NULL,
    error_class {text} NOT NULL,
    message {text} NOT NULL,
    traceback {text} NOT NULL,
    retried BOOLEAN NOT NULL
""",
    (Index("tj_failures_job", "job_id"),),
)

PROCESSES = Table(
    "tj_processes",
    """
    id {id} NOT NULL PRIMARY KEY,
    kind {word} NOT NULL,
    host {text} NOT NULL,
    pid INTEGER NOT NULL,
    started_at {moment} NOT NULL,
    expires_at {moment} NOT NULL
""",
)

LEDGER = Table(
    "tj_ledger",
    """
    tenant {name} NOT NULL,
    {key} {name} NOT NULL,
    owner {name} NOT NULL,
    token {name} NOT NULL,
    state {word} NOT NULL,
    ttl {real},
    lease_until {moment} NOT NULL,
    expires_at {moment},
    PRIMARY KEY (tenant, {key})
""",
    (Index("tj_ledger_expires", "expires_at"),),
)

STEP = Step(1, "jobs, their failures, processes, the ledger of keys", (JOBS, FAILURES, PROCESSES, LEDGER))

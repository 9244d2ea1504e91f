"""Step 7: batches."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

BATCHES = Table(
    "tj_batches",
    """
    id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    description {text},
    properties {text} NOT NULL,
    parent {id},
    on_success {text},
    on_failure {text},
    on_finish {text},
    closed BOOLEAN NOT NULL,
    created_at {moment} NOT NULL,
    failed_at {moment},
    finished_at {moment}
""",
    (Index("tj_batches_finished", "finished_at"),),
)

BATCH_JOBS = Table(
    "tj_batch_jobs",
    """
    batch {id} NOT NULL,
    job {id} NOT NULL,
    kind {word} NOT NULL,
    state {word} NOT NULL,
    PRIMARY KEY (batch, job)
""",
    (
        Index("tj_batch_jobs_job", "job"),
        Index("tj_batch_jobs_unfinished", "batch, state", where="state <> 'done'", whole="state, batch"),
    ),
)

STEP = Step(7, "batches", (BATCHES, BATCH_JOBS))

"""Step 5: the progress of jobs."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Table

PROGRESS = Table(
    "tj_progress",
    """
    job_id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    done {real} NOT NULL,
    total {real},
    told_at {moment} NOT NULL
""",
)

STEP = Step(5, "the progress of jobs", (PROGRESS,))

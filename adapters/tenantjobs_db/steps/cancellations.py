"""Step 13: jobs that were cancelled while they run."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Table

CANCELLATIONS = Table(
    "tj_cancellations",
    """
    job_id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    asked_at {moment} NOT NULL
""",
)

STEP = Step(13, "jobs that were cancelled while they run", (CANCELLATIONS,))

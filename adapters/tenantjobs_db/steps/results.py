"""Step 14: what jobs have returned."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Table

RESULTS = Table(
    "tj_results",
    """
    job_id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    name {name} NOT NULL,
    result {text} NOT NULL
""",
)

STEP = Step(14, "what jobs have returned", (RESULTS,))

"""Step 12: the tenants that are closed."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Table

CLOSED = Table(
    "tj_closed",
    """
    tenant {name} NOT NULL PRIMARY KEY,
    state {word} NOT NULL,
    reason {text},
    closed_at {moment} NOT NULL
""",
)

STEP = Step(12, "the tenants that are closed", (CLOSED,))

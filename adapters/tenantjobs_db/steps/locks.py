"""Step 4: the locks of unique jobs."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

LOCKS = Table(
    "tj_locks",
    """
    tenant {name} NOT NULL,
    {key} {name} NOT NULL,
    owner {id} NOT NULL,
    expires_at {moment} NOT NULL,
    PRIMARY KEY (tenant, {key})
""",
    (
        Index("tj_locks_owner", "owner"),
        Index("tj_locks_expires", "expires_at"),
    ),
)

STEP = Step(4, "the locks of unique jobs", (LOCKS,))

"""Step 6: the permits of limited jobs, and the jobs that wait for one."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

PERMITS = Table(
    "tj_permits",
    """
    {key} {name} NOT NULL,
    number INTEGER NOT NULL,
    tenant {name} NOT NULL,
    owner {id} NOT NULL,
    token {name} NOT NULL,
    expires_at {moment} NOT NULL,
    PRIMARY KEY ({key}, number)
""",
    (
        Index("tj_permits_owner", "owner"),
        Index("tj_permits_expires", "expires_at"),
    ),
)

BLOCKED = Table(
    "tj_blocked",
    """
    job_id {id} NOT NULL PRIMARY KEY,
    {key} {name} NOT NULL,
    tenant {name} NOT NULL,
    priority INTEGER NOT NULL,
    permits INTEGER NOT NULL,
    blocked_at {moment} NOT NULL
""",
    (Index("tj_blocked_key", "{key}, priority, job_id"),),
)

STEP = Step(6, "the permits of limited jobs, and the jobs that wait for one", (PERMITS, BLOCKED))

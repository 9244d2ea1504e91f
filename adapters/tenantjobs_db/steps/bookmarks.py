"""Step 9: the bookmarks of jobs that other queues deliver."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

BOOKMARKS = Table(
    "tj_bookmarks",
    """
    job_id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    name {name} NOT NULL,
    version INTEGER NOT NULL,
    bookmark {text} NOT NULL,
    kept_at {moment} NOT NULL
""",
    (Index("tj_bookmarks_kept", "kept_at"),),
)

STEP = Step(9, "the bookmarks of jobs that other queues deliver", (BOOKMARKS,))

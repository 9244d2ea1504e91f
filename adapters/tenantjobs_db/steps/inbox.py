"""Step 3: the inbox."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

INBOX = Table(
    "tj_inbox",
    """
    id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    name {name} NOT NULL,
    done_at {moment} NOT NULL
""",
    (Index("tj_inbox_done", "done_at"),),
)

STEP = Step(3, "the inbox", (INBOX,))

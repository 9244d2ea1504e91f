"""Step 11: recurring jobs, and which of their ticks have been enqueued."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

RECURRING = Table(
    "tj_recurring",
    """
    {key} {id} NOT NULL PRIMARY KEY,
    entry {text},
    paused BOOLEAN NOT NULL,
    planned_at {moment} NOT NULL,
    last_at {moment}
""",
)

TICKS = Table(
    "tj_ticks",
    """
    {key} {id} NOT NULL,
    tenant {name} NOT NULL,
    period {id} NOT NULL,
    due_at {moment} NOT NULL,
    token {id} NOT NULL,
    taken_at {moment} NOT NULL,
    PRIMARY KEY ({key}, tenant, period)
""",
    (Index("tj_ticks_taken", "taken_at"),),
)

STEP = Step(11, "recurring jobs, and which of their ticks have been enqueued", (RECURRING, TICKS))

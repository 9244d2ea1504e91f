"""Step 8: what operators say of queues, tenants and jobs, and what the processes serve."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Table

CONTROLS = Table(
    "tj_controls",
    """
    kind {word} NOT NULL,
    name {name} NOT NULL,
    paused_at {moment},
    reason {text},
    weight {real},
    cap INTEGER,
    rate INTEGER,
    rate_seconds {real},
    changed_at {moment} NOT NULL,
    PRIMARY KEY (kind, name)
""",
)

SERVING = Table(
    "tj_serving",
    """
    process {id} NOT NULL PRIMARY KEY,
    queues {text} NOT NULL,
    slots INTEGER NOT NULL,
    several_at {moment}
""",
)

STEP = Step(8, "what operators say of queues, tenants and jobs, and what the processes serve", (CONTROLS, SERVING))

"""Step 2: the outbox."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

OUTBOX = Table(
    "tj_outbox",
    """
    id {id} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    name {name} NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    written_at {moment} NOT NULL,
    relay_at {moment} NOT NULL,
    error {text},
    data {text} NOT NULL
""",
    (Index("tj_outbox_relay", "relay_at, id"),),
)

STEP = Step(2, "the outbox", (OUTBOX,))

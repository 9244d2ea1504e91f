"""Step 10: the starts of jobs with a rate."""

from __future__ import annotations

from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import Index, Table

RATES = Table(
    "tj_rates",
    """
    {key} {name} NOT NULL PRIMARY KEY,
    tenant {name} NOT NULL,
    number BIGINT NOT NULL,
    allowed INTEGER,
    seconds {real},
    burst INTEGER,
    let_out_until {moment},
    expires_at {moment} NOT NULL
""",
    (Index("tj_rates_expires", "expires_at"),),
)

STARTS = Table(
    "tj_starts",
    """
    {key} {name} NOT NULL,
    number BIGINT NOT NULL,
    started_at {moment} NOT NULL,
    PRIMARY KEY ({key}, number)
""",
)

STEP = Step(10, "the starts of jobs with a rate", (RATES, STARTS))

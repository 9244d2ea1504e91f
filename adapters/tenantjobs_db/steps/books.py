"""Where a database keeps which steps it has taken. Not a step itself: it is there before the first one."""

from __future__ import annotations

from tenantjobs_db.steps.table import Table

BOOKS = Table(
    "tj_schema",
    """
    version INTEGER NOT NULL PRIMARY KEY,
    applied_at {moment} NOT NULL
""",
)

"""The state of a job as the database has it, and as people say it: what is claimed runs, and all else is the same."""

from __future__ import annotations

from tenantjobs.view import RUNNING
from tenantjobs_db.tables import CLAIMED


def said(state: str) -> str:
    """For people."""
    return RUNNING if state == CLAIMED else state


def stored_as(state: str) -> str:
    """For the database."""
    return CLAIMED if state == RUNNING else state

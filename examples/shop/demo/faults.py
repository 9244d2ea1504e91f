"""Faults to plant, so that the proofs can show that they would find them."""

from __future__ import annotations

from sqlalchemy import Engine, delete, select

from tenantjobs_db.tables import SCHEDULED, jobs

FAULTS = ("loss", "duplicate", "wrong-tenant")
VARIABLE = "SHOP_FAULT"


def lose_a_job(engine: Engine) -> bool:
    """Take a job that waits for its next attempt out of the queue, behind everybody's back; False if there is none."""
    waiting = select(jobs.c.id).where(jobs.c.state == SCHEDULED).limit(1).scalar_subquery()
    with engine.begin() as connection:
        return bool(connection.execute(delete(jobs).where(jobs.c.id == waiting, jobs.c.state == SCHEDULED)).rowcount)

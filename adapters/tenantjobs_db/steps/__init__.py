"""The numbered steps of the schema, a file each. One that was released is never changed."""

from __future__ import annotations

from tenantjobs_db.steps import (
    batches,
    bookmarks,
    cancellations,
    closed,
    controls,
    inbox,
    jobs,
    locks,
    outbox,
    permits,
    progress,
    rates,
    results,
    ticks,
)
from tenantjobs_db.steps.step import Step

STEPS: tuple[Step, ...] = (
    jobs.STEP,
    outbox.STEP,
    inbox.STEP,
    locks.STEP,
    progress.STEP,
    permits.STEP,
    batches.STEP,
    controls.STEP,
    bookmarks.STEP,
    rates.STEP,
    ticks.STEP,
    closed.STEP,
    cancellations.STEP,
    results.STEP,
)

"""Recurring jobs: entries of ``config/recurring.yml`` and of ``schedule(...)``, enqueued when they come due.

Any number of schedulers may run; each tick is enqueued once, for each tenant where an entry is for all of them.
"""

from __future__ import annotations

from tenantjobs.recurring.dynamic import schedule, unschedule
from tenantjobs.recurring.entries import Entry
from tenantjobs.recurring.managing import pause, resume, run
from tenantjobs.recurring.scheduler import Scheduler
from tenantjobs.ticks import HasTicks, State, Tick, Ticks

__all__ = [
    "Entry",
    "HasTicks",
    "Scheduler",
    "State",
    "Tick",
    "Ticks",
    "pause",
    "resume",
    "run",
    "schedule",
    "unschedule",
]

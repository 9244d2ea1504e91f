"""Schedules in words: ``parse("every day at 9am America/New_York")`` to cron expressions and a time zone.

Words, cron expressions and intervals all become the same ``Schedule``. What no cron expression says truly, such as
``every 45 minutes``, is refused with the reason and the nearest ones that it does say.
"""

from __future__ import annotations

from tenantjobs.schedules.parsing import cron, every, parse
from tenantjobs.schedules.schedule import Schedule

__all__ = ["Schedule", "cron", "every", "parse"]

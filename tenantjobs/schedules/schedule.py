"""A schedule: cron expressions, and the time zone whose clock they are read on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import msgspec
from cronsim import CronSim

_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class Schedule(msgspec.Struct, frozen=True):
    """When something happens again and again.

    ``crons`` are standard expressions of five fields, or six that begin with seconds; it happens whenever one of them
    says so. ``zone`` is UTC, and ``zoned`` false, where none was written.

    When clocks are put forward, what stands at a time that is left out happens at the first instant after the gap;
    when they are put back, what stands at a time that comes twice happens the first time. What happens every hour or
    more often (its minutes or hours begin with ``*``) goes on through both, by the time that really passes.
    """

    text: str
    crons: tuple[str, ...]
    zone: tzinfo = UTC
    zoned: bool = False

    def next_after(self, moment: datetime) -> datetime:
        """The first time after ``moment``, never ``moment`` itself, in ``zone``. ValueError for a naive one."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} says no time zone: datetime.now(UTC), or replace(tzinfo=...)")
        local = moment.astimezone(self.zone)
        # By the instant: Python compares two times of one zone by their clock, also where that is put back.
        return min((_first_after(local, cron) for cron in self.crons), key=datetime.timestamp)

    def in_zone(self, zone: tzinfo) -> Schedule:
        """The same on the clock of ``zone``, unless it was written with a zone of its own."""
        return self if self.zoned else msgspec.structs.replace(self, zone=zone)

    def explain(self) -> str:
        """In plain words what the expressions say, as ``At 09:00 every day (America/New_York)``."""
        said = "; ".join(CronSim(cron, _SOME_DAY).explain() for cron in self.crons)
        return f"{said} ({self.zone})"

    def __str__(self) -> str:
        return self.text


def _first_after(moment: datetime, cron: str) -> datetime:
    if CronSim(cron, moment).fixup_tz is not None:  # hours of the clock
        return _next(cron, moment)
    # What goes on by the time that really passes is read on one clock up to a change of the clocks, on the next from
    # there on: cronsim goes hour by hour, and where clocks change by half an hour, as on Lord Howe, its hours stop to
    # be full ones and it runs past what is there.
    zone, offset = moment.tzinfo, moment.utcoffset()
    while True:
        found = _next(cron, moment.astimezone(timezone(offset or timedelta(0)))).astimezone(zone)
        if found.utcoffset() == offset:
            return found
        changed = _change(moment, found, offset)
        moment, offset = changed.astimezone(UTC) - _SECOND, changed.utcoffset()


def _next(cron: str, moment: datetime) -> datetime:
    # Asked in the second of two hours that a clock shows twice, cronsim begins with what was in the first.
    return next(found for found in CronSim(cron, moment) if found.timestamp() > moment.timestamp())


def _change(before: datetime, after: datetime, offset: timedelta | None) -> datetime:
    """The first second between the two at which the clock is no longer ``offset`` from UTC, as it was up to then."""
    first, last = int(before.timestamp()), int(after.timestamp())
    while last - first > 1:
        middle = (first + last) // 2
        if datetime.fromtimestamp(middle, after.tzinfo).utcoffset() == offset:
            first = middle
        else:
            last = middle
    return datetime.fromtimestamp(last, after.tzinfo)

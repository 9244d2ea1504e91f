"""Which times of an entry are to be enqueued now, and how each is told from the others."""

from __future__ import annotations

import hashlib
from collections import deque
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from tenantjobs.recurring.entries import CatchUp, Entry
from tenantjobs.schedules import Schedule

LATE = timedelta(seconds=60)  # after which a time counts as missed
MOST = 100  # missed times that catch_up: all enqueues; older ones are left out

_SPANS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=367))


def due(schedule: Schedule, after: datetime, now: datetime, catch_up: CatchUp) -> list[datetime]:
    """The times after ``after`` and up to ``now``: those that are on time, and of those that were missed as many as
    ``catch_up`` wants: none, the last one if no other is on time, or the last hundred."""
    times = _latest(schedule, after, now)
    on_time = [time for time in times if now - time <= LATE]
    if catch_up == "all":
        return times
    elif catch_up == "once" and not on_time:
        return times[-1:]
    else:
        return on_time


def period(time: datetime, *, local: bool) -> str:
    """What tells a time from the others: the instant, or what a tenant's clock shows."""
    if not local:
        return time.astimezone(UTC).isoformat(timespec="seconds")
    # The second of two hours that a clock shows twice is another one.
    return time.replace(tzinfo=None, fold=0).isoformat(timespec="seconds") + ("+" if time.fold else "")


def delay(entry: Entry, tenant: str) -> timedelta:
    """Where in the window of ``jitter`` the job of a tenant is: the same each time."""
    if not entry.jitter:
        return timedelta()
    digest = hashlib.blake2b(f"{entry.key}\0{tenant}".encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest) % max(int(entry.jitter), 1))


@lru_cache(maxsize=256)
def next_anywhere(schedule: Schedule, after: datetime) -> datetime:
    """The next time by any clock of the world: before it no tenant has anything, whatever its time zone."""
    return min((schedule.in_zone(zone).next_after(after) for zone in _zones()), key=datetime.timestamp)


def _latest(schedule: Schedule, after: datetime, now: datetime) -> list[datetime]:
    """The last times, at most ``MOST``; looked for from the end, since there may be very many."""
    for span in _SPANS:
        if now - span <= after:
            break
        found = _between(schedule, now - span, now)
        if len(found) == MOST:
            return found
    return _between(schedule, after, now)


def _between(schedule: Schedule, after: datetime, now: datetime) -> list[datetime]:
    found: deque[datetime] = deque(maxlen=MOST)
    time = schedule.next_after(after)
    while time.timestamp() <= now.timestamp():
        found.append(time)
        time = schedule.next_after(time)
    return list(found)


@cache
def _zones() -> tuple[tzinfo, ...]:
    return tuple(map(ZoneInfo, sorted(available_timezones())))

"""Intervals: what ``every 2 hours`` is in the fields of cron, and which ones have no true expression."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from tenantjobs.errors import ConfigurationError

Unit = Literal["second", "minute", "hour", "day", "week", "month", "year"]

SECONDS: dict[Unit, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
MONTHS: dict[Unit, int] = {"month": 1, "year": 12}
UNITS: dict[str, Unit] = {
    **dict.fromkeys(("second", "seconds", "sec", "secs"), "second"),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), "minute"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), "hour"),
    **dict.fromkeys(("day", "days"), "day"),
    **dict.fromkeys(("week", "weeks"), "week"),
    **dict.fromkeys(("month", "months"), "month"),
    **dict.fromkeys(("year", "years"), "year"),
}

_SHORT: dict[str, Unit] = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
_DURATION = re.compile(r"(?:\d{1,6}\s*[a-z]+\s*)+")
_PART = re.compile(r"(\d+)\s*([a-z]+)")


class Interval(NamedTuple):
    """``number`` times ``unit``, in the largest unit that it is a multiple of."""

    number: int
    unit: Unit

    def __str__(self) -> str:
        return f"every {self.unit}" if self.number == 1 else f"every {self.number} {self.unit}s"


def interval(count: int, unit: Unit, text: str) -> Interval:
    """``ConfigurationError`` if no cron expression has this interval: its next larger unit is no multiple of it."""
    if count == 0:
        raise ConfigurationError(f"{text!r}: every 0 {unit}s is never, or always; the least is every {unit}")
    table, possible = (MONTHS, _MONTHLY) if unit in MONTHS else (SECONDS, _POSSIBLE)
    length = count * table[unit]
    if length in possible:
        return possible[length]
    below = max((known for known in possible if known < length), default=None)
    above = min((known for known in possible if known > length), default=None)
    near = [str(possible[known]) for known in (below, above) if known is not None]
    raise ConfigurationError(f"{text!r}: {_reason(count, unit)}; the nearest true ones are {' and '.join(near)}")


def duration(text: str) -> tuple[int, Unit] | None:
    """``90`` and ``minute`` for ``"1h30m"``; None if it is no duration at all."""
    if not _DURATION.fullmatch(text.lower()):
        return None
    parts = [(int(count), _SHORT.get(name) or UNITS.get(name)) for count, name in _PART.findall(text.lower())]
    known: list[tuple[int, Unit]] = [(count, unit) for count, unit in parts if unit is not None and unit in SECONDS]
    if len(known) < len(parts):
        return None
    smallest: Unit = min((unit for _, unit in known), key=lambda unit: SECONDS[unit])
    return sum(count * SECONDS[unit] for count, unit in known) // SECONDS[smallest], smallest


def _reason(count: int, unit: Unit) -> str:
    said = Interval(count, unit)
    if unit in ("second", "minute", "hour") and count * SECONDS[unit] < SECONDS["day"]:
        larger = "minute" if count * SECONDS[unit] < 60 else "hour" if count * SECONDS[unit] < 3600 else "day"
        a_larger = f"an {larger}" if larger == "hour" else f"a {larger}"
        return f"cron cannot say {said}: {a_larger} is no multiple of it, and each one starts over"
    elif unit in MONTHS:
        return f"cron cannot say {said}: each year starts over, and is no multiple of it"
    else:
        return f"cron cannot say {said}: each month starts over, whatever its length, and cron knows no other count"


def _possible() -> dict[int, Interval]:
    whole: list[tuple[Unit, int]] = [("second", 60), ("minute", 60), ("hour", 24)]
    found = {
        count * SECONDS[unit]: Interval(count, unit)
        for unit, larger in whole
        for count in range(1, larger)
        if larger % count == 0
    }
    return {**found, SECONDS["day"]: Interval(1, "day"), SECONDS["week"]: Interval(1, "week")}


_POSSIBLE = _possible()
_MONTHLY = {
    **{count: Interval(count, "month") for count in (1, 2, 3, 4, 6)},
    12: Interval(1, "year"),
}

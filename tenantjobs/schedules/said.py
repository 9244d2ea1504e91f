"""What the words of a schedule say, clause by clause, and the cron expressions of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tenantjobs.errors import ConfigurationError
from tenantjobs.schedules.intervals import Interval, Unit, interval

Time = tuple[int, int, int]  # hour, minute, second

_LENGTHS = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_OFTEN = ("second", "minute", "hour")


@dataclass(kw_only=True)
class Said:
    """One schedule in words, as far as it has been read."""

    text: str
    interval: Interval | None = None
    weekdays: set[int] = field(default_factory=set)
    nth_weekdays: list[str] = field(default_factory=list)  # as cron has them: "1#1", "5L"
    days: list[int | str] = field(default_factory=list)  # of the month; "L" is the last
    months: set[int] = field(default_factory=set)
    times: list[Time] = field(default_factory=list)
    minutes: list[int] = field(default_factory=list)
    window: tuple[Time, Time] | None = None
    start_minute: int | None = None
    start: Time | None = None

    def crons(self) -> tuple[str, ...]:
        """The expressions, each standing for a part of the times or days; ``ConfigurationError`` if there are none."""
        often = self.interval is not None and self.interval.unit in _OFTEN
        clocks = self._often() if often else self._at_times()
        return tuple(f"{clock} {days}" for clock in clocks for days in self._days())

    def wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.text!r}: {what}")

    def _often(self) -> list[str]:
        """The fields of seconds, minutes and hours, where something happens within a day again and again."""
        assert self.interval is not None
        count, unit = self.interval
        if self.times:
            what = f"{self.interval} is not at one time of the day"
            raise self.wrong(f"{what}: write every day at ..., or every hour at minute ...")
        if self.minutes and unit != "hour":
            raise self.wrong(f"only what happens every hour, or every few, has a minute; it is {self.interval} here")
        hours = self._hours(count, unit)
        if unit == "second":
            self._refuse_start("second")
            return [f"{_stepped(count)} * {hours}"]
        elif unit == "minute":
            if self.start is not None:
                raise self.wrong("what happens every few minutes starts at a minute: starting at minute 5")
            return [f"{_stepped(count, self._start(self.start_minute, count))} {hours}"]
        else:
            if self.start_minute is not None:
                raise self.wrong(f"write {self.interval} at minute {self.start_minute}")
            return [f"{_listed(self.minutes or [0])} {hours}"]

    def _hours(self, count: int, unit: str) -> str:
        step = count if unit == "hour" else 1
        if self.window is None:
            start = None if self.start is None else self._full_hour(self.start)
            return _stepped(step, self._start(start, step))
        if self.start is not None:
            raise self.wrong("from ... to ... says already when it starts")
        first, last = (self._full_hour(time) for time in self.window)
        if unit != "hour":
            last = (last - 1) % 24  # until five is not at five any more
        hours = [hour % 24 for hour in range(first, first + (last - first) % 24 + 1, step)]
        if step > 1 and hours == sorted(hours):
            return f"{first}-{last}/{step}"
        return _listed(hours)

    def _start(self, start: int | None, step: int) -> int | None:
        if start is not None and start >= step:
            raise self.wrong(f"{self.interval} starts within the first {step}, so at {start % step} and not at {start}")
        return start

    def _refuse_start(self, unit: str) -> None:
        if self.start is not None or self.start_minute is not None:
            raise self.wrong(f"what happens every few {unit}s has no start")

    def _full_hour(self, time: Time) -> int:
        hour, minute, second = time
        if minute or second:
            raise self.wrong(f"{hour}:{minute:02} is no full hour, and from, to and starting at go by these")
        return hour

    def _at_times(self) -> list[str]:
        """The same fields for what happens at times of the day; one for each minute that they have not in common."""
        said = self.interval or Interval(1, "day")
        if self.minutes:
            raise self.wrong(f"{said} has an hour too: write at 9:{self.minutes[0]:02}, or every hour at minute ...")
        if self.window is not None:
            raise self.wrong(
                "from ... to ... wants to be told how often: every hour from ..., every 15 minutes from ..."
            )
        if self.start is not None or self.start_minute is not None:
            raise self.wrong(f"{said} starts at no other time than it happens: write at ...")
        hours_of: dict[tuple[int, int], set[int]] = {}
        for hour, minute, second in self.times or [(0, 0, 0)]:
            hours_of.setdefault((minute, second), set()).add(hour)
        minutes_of: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for (minute, second), hours in sorted(hours_of.items()):
            minutes_of.setdefault((second, tuple(sorted(hours))), []).append(minute)
        clocks = sorted((hours, minutes, second) for (second, hours), minutes in minutes_of.items())
        return [
            f"{f'{second} ' if second else ''}{_listed(minutes)} {_listed(hours)}" for hours, minutes, second in clocks
        ]

    def _days(self) -> list[str]:
        """The fields of days, months and weekdays; days of the month and of the week are expressions of their own."""
        count, unit = self.interval or Interval(1, "day")
        if unit == "week" and not self.weekdays:
            self.weekdays = {0}
        if unit == "week" and (self.days or self.nth_weekdays):
            raise self.wrong("a day of the month is not in every week: write every month on ...")
        months = _listed(self.months) if self.months else "*"
        if unit == "month" and count > 1:
            if self.months:
                raise self.wrong(f"{Interval(count, unit)} are not the months that are named: leave one of both out")
            months = f"*/{count}"
        if unit == "year":
            months = _listed(self.months or {1})
        if not (self.days or self.weekdays or self.nth_weekdays) and (unit in ("month", "year") or self.months):
            self.days = [1]
        self._check_days(self.months or set(_LENGTHS))
        weekdays = [*([_listed(self.weekdays)] if self.weekdays else ()), *self.nth_weekdays]
        found = [f"{_listed(self.days)} {months} *"] if self.days else []
        found += [f"* {months} {','.join(weekdays)}"] if weekdays else []
        return found or [f"* {months} *"]

    def _check_days(self, months: Collection[int]) -> None:
        longest = max(_LENGTHS[month] for month in months)
        for day in self.days:
            if isinstance(day, int) and not 1 <= day <= longest:
                raise self.wrong(f"there is no day {day} in {'a month' if longest == 31 else 'this month'}")


def of_interval(text: str, count: int, unit: Unit) -> Said:
    """``every: "2h"``."""
    return Said(text=text, interval=interval(count, unit, text))


def _stepped(step: int, start: int | None = None) -> str:
    if step == 1:
        return "*"
    return f"{start or '*'}/{step}"


def _listed(values: Iterable[int | str]) -> str:
    """Sorted; three or more in a row as a range."""
    numbers = sorted({value for value in values if isinstance(value, int)})
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    parts = [f"{row[0]}-{row[-1]}" if len(row) > 2 else ",".join(map(str, row)) for row in rows]
    return ",".join([*parts, *sorted({value for value in values if isinstance(value, str)})])

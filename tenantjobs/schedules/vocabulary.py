"""The words of a schedule, and what each of them stands for."""

from __future__ import annotations

import re

from tenantjobs.schedules.intervals import UNITS, Unit

ADVERBS: dict[str, Unit] = {
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "yearly": "year",
    "annually": "year",
}
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
WEEKDAYS = {
    name: number
    for number, day in enumerate(_DAYS)
    for name in (day, f"{day}s", day[:3], {"tue": "tues", "thu": "thurs", "wed": "weds"}.get(day[:3], day))
}
SEVERAL_DAYS = {
    **dict.fromkeys(("weekday", "weekdays"), (1, 2, 3, 4, 5)),
    **dict.fromkeys(("weekend", "weekends"), (0, 6)),
}
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
MONTHS = {name: number for number, month in enumerate(_MONTHS, 1) for name in (month, month[:3])} | {"sept": 9}
NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
}
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
LAST = "last"
HOURS = {"noon": 12, "midday": 12, "midnight": 0}
GLUE = (
    *("every", "each", "other", "at", "on", "of", "the", "from", "between", "to", "until", "through", "and", "or"),
    *("starting", "am", "pm", "in", LAST),
)

KNOWN = {*UNITS, *ADVERBS, *WEEKDAYS, *SEVERAL_DAYS, *MONTHS, *NUMBERS, *ORDINALS, *HOURS, *GLUE}

_ORDINAL = re.compile(r"(\d{1,2})(?:st|nd|rd|th)")


def number(word: str) -> int | None:
    """``5`` for ``5`` and ``five``."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 7 else NUMBERS.get(word)


def ordinal(word: str) -> int | str | None:
    """``15`` for ``15th``, ``2`` for ``second``, ``"L"`` for ``last``."""
    match = _ORDINAL.fullmatch(word)
    return "L" if word == LAST else int(match[1]) if match else ORDINALS.get(word)

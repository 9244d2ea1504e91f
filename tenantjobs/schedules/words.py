"""The grammar: ``every 4 hours at minute 51``, ``every 1st and 15th at noon``, ``at 9am and 5:30pm on weekdays``.

schedule  clause [[","] ["and"] clause] ...
clause    every [number] unit · every days · daily, hourly ... · at times · at minute numbers
          on days · of months · from time to time · starting at time, starting at minute number
days      monday, tue and fri · mon-fri · weekdays · weekends · 1st, 15th and last [day] · last friday · day 15
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from tenantjobs.errors import ConfigurationError
from tenantjobs.schedules import vocabulary
from tenantjobs.schedules.intervals import UNITS, Interval, duration, interval
from tenantjobs.schedules.said import Said, Time
from tenantjobs.schedules.vocabulary import ADVERBS, HOURS, MONTHS, SEVERAL_DAYS, WEEKDAYS, ordinal
from tenantjobs.spelling import nearest

T = TypeVar("T")

_TIME = re.compile(r"(\d{1,2})(?::(\d\d)(?::(\d\d))?)?([ap]m)?")
_TOKEN = re.compile(r",|[^\s,]+")
_RANGE = re.compile(r"([a-z]+)-([a-z]+)")


def read(text: str, words: str) -> Said:
    """What ``words`` say, which are ``text`` without its zone; ``ConfigurationError`` names the word that is wrong."""
    return _Words(text, words).schedule()


class _Words:
    def __init__(self, text: str, words: str) -> None:
        lowered = re.sub(r"\b([ap])\.m\.?(?=[\s,]|$)", r"\1m", words.lower())
        self._words: list[str] = _TOKEN.findall(lowered)
        self._at = 0
        self._said = Said(text=text)
        self._clauses: set[str] = set()

    def schedule(self) -> Said:
        if not self._words:
            raise self._said.wrong("it says nothing: write it as in every day at 9am")
        while self._at < len(self._words):
            self._clause()
            while self._at < len(self._words) and self._take(",", "and"):
                if self._at == len(self._words):
                    self._refuse()
        every = self._said.interval
        monthly = "of" in self._clauses or (every is not None and every.unit == "month")
        if "nth" in self._clauses and not monthly:
            raise self._said.wrong(
                "this may be every other week, which cron cannot say, or once a month: add of the month for that"
            )
        if not self._clauses & {"every", "at", "on"}:
            raise self._said.wrong("how often is missing: it begins with every, as in every day at 9am")
        return self._said

    def _clause(self) -> None:
        word = self._peek()
        if word in ADVERBS:
            self._once("every")
            self._said.interval = Interval(1, ADVERBS[self._next()])
        elif self._take("every", "each"):
            self._once("every")
            self._every()
        elif self._take("at"):
            self._at_clause()
        elif self._take("on"):
            self._clauses.add("on")
            self._days()
        elif self._take("of", "in"):
            self._of_months()
        elif self._take("from", "between"):
            self._once("from")
            first = self._time()
            self._expect("to", "until", "and", "through")
            self._said.window = (first, self._time())
        elif self._take("starting"):
            self._once("starting")
            self._expect("at", "from", "on")
            if self._take("minute"):
                self._said.start_minute = self._minute()
            else:
                self._said.start = self._time()
        elif self._maybe_time() is not None:
            self._at -= 1
            self._at_clause()
        else:
            self._refuse()

    def _every(self) -> None:
        word, after = self._peek(), self._peek(1)
        count = vocabulary.number(word)
        if count is not None or word == "other" or (word == "second" and after in UNITS):
            self._next()
            unit = self._one_of(UNITS)
            self._said.interval = interval(2 if count is None else count, unit, self._said.text)
        elif (found := duration(word)) is not None:
            self._next()
            self._said.interval = interval(*found, self._said.text)
        elif word in UNITS and after not in WEEKDAYS:
            self._said.interval = Interval(1, UNITS[self._next()])
        else:
            self._days()

    def _at_clause(self) -> None:
        self._clauses.add("at")
        if self._take("minute", "minutes"):
            self._said.minutes += self._list(self._minute)
        else:
            self._said.times += self._list(self._time, again="at")

    def _days(self) -> None:
        """Weekdays, days of the month, or a month and its days."""
        self._take("the")
        if self._take("day", "days"):
            self._said.days += self._list(self._day_of_month)
        elif self._peek() in MONTHS:
            self._said.months |= set(self._list(lambda: self._one_of(MONTHS)))
            if ordinal(self._peek()) is not None or vocabulary.number(self._peek()) is not None:
                self._said.days += self._list(self._day_of_month)
        elif ordinal(self._peek()) is not None:
            self._ordinals()
        else:
            for days in self._list(self._weekdays):
                self._said.weekdays |= days

    def _ordinals(self) -> None:
        found = self._list(self._ordinal, again="the")
        if self._peek() in WEEKDAYS:
            weekdays = self._list(lambda: self._one_of(WEEKDAYS))
            for number in found:
                if number not in (1, "L"):
                    self._clauses.add("nth")
                if isinstance(number, int) and number > 5:
                    raise self._said.wrong(f"no month has a weekday {number} times: first to fifth, or last")
                form = "{0}L" if number == "L" else f"{{0}}#{number}"
                self._said.nth_weekdays += [form.format(weekday) for weekday in weekdays]
        else:
            self._take("day", "days")
            self._said.days += found

    def _of_months(self) -> None:
        self._clauses.add("of")
        if not self._take("the", "every", "each"):
            self._take("a")
        if not self._take("month", "months"):
            self._said.months |= set(self._list(lambda: self._one_of(MONTHS)))

    def _weekdays(self) -> set[int]:
        word = self._peek()
        if match := _RANGE.fullmatch(word):
            first, last = match.groups()
            if first in WEEKDAYS and last in WEEKDAYS:
                self._next()
                return _from_to(WEEKDAYS[first], WEEKDAYS[last])
        if word in SEVERAL_DAYS:
            return set(SEVERAL_DAYS[self._next()])
        found = self._one_of(WEEKDAYS)
        if self._take("to", "through", "-", "until"):
            return _from_to(found, self._one_of(WEEKDAYS))
        return {found}

    def _ordinal(self) -> int | str:
        found = ordinal(self._peek())
        if found is None:
            self._refuse()
        self._next()
        return found

    def _day_of_month(self) -> int | str:
        number = vocabulary.number(self._peek())
        if number is None:
            return self._ordinal()
        self._next()
        return number

    def _minute(self) -> int:
        number = vocabulary.number(self._peek())
        if number is None:
            self._refuse()
        if number > 59:
            raise self._said.wrong(f"an hour has no minute {number}: 0 to 59")
        self._next()
        return number

    def _time(self) -> Time:
        found = self._maybe_time()
        if found is None:
            self._refuse()
        return found

    def _maybe_time(self) -> Time | None:
        word = self._peek()
        number = vocabulary.NUMBERS.get(word)
        match = _TIME.fullmatch(word if number is None else str(number))
        if word in HOURS:
            self._next()
            return (HOURS[word], 0, 0)
        if match is None:
            return None
        self._next()
        half = match[4] or (self._next() if self._peek() in ("am", "pm") else None)
        hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
        if hour > 24 or minute > 59 or second > 59 or (hour == 24 and (minute or second)):
            hint = f"; did you mean at minute {hour}?" if match[2] is None else ""
            raise self._said.wrong(f"{word} is no time of the day{hint}")
        if half == "am" and hour > 12:
            raise self._said.wrong(f"{word} is no time of the day: {hour}:{minute:02} is in its second half")
        if half is not None and hour in (12, 24):
            hour = 0
        if half == "pm" and hour < 12:
            hour += 12
        return (hour % 24, minute, second)

    def _list(self, item: Callable[[], T], again: str | None = None) -> list[T]:
        """Items with commas, ``and`` or ``or`` between them, as far as they go on."""
        found = [item()]
        while True:
            before = self._at
            if not self._take(",", "and", "or"):
                return found
            self._take("and", "or")
            if again is not None:
                self._take(again)
            try:
                found.append(item())
            except _Misread:
                self._at = before  # what follows is a clause of its own, or is wrong there
                return found

    def _one_of(self, known: Mapping[str, T]) -> T:
        word = self._peek()
        if word not in known:
            self._refuse(known)
        self._next()
        return known[word]

    def _once(self, clause: str) -> None:
        if clause in self._clauses:
            raise self._said.wrong(f"it says twice {'how often' if clause == 'every' else clause + ' when'}")
        self._clauses.add(clause)

    def _expect(self, *words: str) -> None:
        if not self._take(*words):
            self._refuse(dict.fromkeys(words))

    def _take(self, *words: str) -> bool:
        taken = self._peek() in words
        self._at += int(taken)
        return taken

    def _peek(self, further: int = 0) -> str:
        place = self._at + further
        return self._words[place] if place < len(self._words) else ""

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1]

    def _refuse(self, expected: Mapping[str, object] | None = None) -> NoReturn:
        word = self._peek()
        before = self._words[self._at - 1] if self._at else None
        if not word:
            raise _Misread(f"{self._said.text!r}: something is missing after {before!r}")
        found = nearest(word, expected or vocabulary.KNOWN) or nearest(word, vocabulary.KNOWN)
        if found is not None and found != word:
            hint = f"; did you mean {found!r}?"
        else:
            hint = f" after {before!r}" if before else ": a schedule is written as in every day at 9am, or as cron"
        raise _Misread(f"{self._said.text!r}: {word!r} is not understood{hint}")


class _Misread(ConfigurationError):
    """A word that does not go on here."""


def _from_to(first: int, last: int) -> set[int]:
    return {(first + offset) % 7 for offset in range((last - first) % 7 + 1)}

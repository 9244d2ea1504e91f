"""Cron expressions as people write them, and as cronsim reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from tenantjobs.errors import ConfigurationError
from tenantjobs.spelling import nearest

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_NAMES = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_SIZES = (60, 60, 24, None, None, 7)  # of the fields that go round
_FIELD = re.compile(r"[\d*,/LW#%&+-]+|(?:[a-z]{3}[\d,/#%+-]*)+", re.IGNORECASE)
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def looks_like_cron(text: str) -> bool:
    """True for what is meant as an expression, if it is a good one or not."""
    fields = text.split()
    return text.startswith("@") or (fields[0][0] in "*0123456789" and len(fields) > 2 and all(map(_looks, fields)))


def read(text: str, written: str) -> tuple[str, ...]:
    """The expression that ``written`` is, which is ``text`` without its zone."""
    if written.startswith("@"):
        return (_alias(text, written),)
    fields = written.split()
    if len(fields) not in (5, 6):
        raise ConfigurationError(
            f"{text!r} has {len(fields)} fields: minute, hour, day of the month, month and day of the week are wanted, "
            f"or six that begin with the second"
        )
    sizes = _SIZES[-len(fields) :]
    return (" ".join(_field(text, field, size) for field, size in zip(fields, sizes, strict=True)),)


def checked(text: str, crons: tuple[str, ...]) -> tuple[str, ...]:
    """``crons``, each of which will come due some day."""
    for cron in crons:
        try:
            next(CronSim(cron, _SOME_DAY))
        except CronSimError as error:
            bad = str(error).replace("Bad ", "").replace("-", " ")
            raise ConfigurationError(f"{text!r}: this is no {bad}, or there is no such day, in {cron!r}") from error
        except StopIteration as error:
            raise ConfigurationError(f"{text!r}: there is no such day, in {cron!r}") from error
    return crons


def _looks(field: str) -> bool:
    return bool(_FIELD.fullmatch(field))


def _alias(text: str, written: str) -> str:
    found = ALIASES.get(written.lower())
    if found is not None:
        return found
    if written.lower().startswith("@every"):
        raise ConfigurationError(f'{text!r}: write the interval alone, as in every: "5m", or in words, every 5 minutes')
    if written.lower() == "@reboot":
        raise ConfigurationError(f"{text!r}: a schedule goes by the clock, and knows no start of a machine")
    near = nearest(written, ALIASES)
    raise ConfigurationError(f"{text!r} is not known{f'; did you mean {near}?' if near else ''}")


def _field(text: str, field: str, size: int | None) -> str:
    if "%" in field or "&" in field:
        raise ConfigurationError(f"{text!r}: {field!r} is no standard cron; a job may look at the date itself")
    return ",".join(_part(part, size) for part in field.split(","))


def _part(part: str, size: int | None) -> str:
    """What cronsim does not know itself: ``mon#-1`` and ranges that go round, ``22-5``."""
    if part.endswith("#-1"):
        weekday = part[:-3].lower()
        return f"{_NAMES.get(weekday, weekday)}L"
    match = re.fullmatch(r"(\w+)-(\w+)", part)
    if size is None or match is None:
        return part
    first, last = (_NAMES.get(end.lower(), end) if size == 7 else end for end in match.groups())
    try:
        first, last = int(first), int(last)
    except ValueError:
        return part
    if first <= last or last >= size or first >= size:
        return part
    return f"{first}-{size - 1},0-{last}"

"""Time zones as they stand at the end of a schedule: ``America/New_York``, ``UTC``, ``+09:00``."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from tenantjobs.errors import ConfigurationError
from tenantjobs.spelling import nearest

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_PLACE = re.compile(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+)+")


def looks_like_zone(word: str) -> bool:
    """True for what can be nothing else than a time zone, if there is one of this name or not."""
    return bool(_OFFSET.fullmatch(word) or _PLACE.fullmatch(word)) or word.upper() == "UTC" or word in _names()


def zone_of(word: str, text: str | None = None) -> tzinfo:
    """The zone that ``word`` names; ``ConfigurationError`` with the nearest name if there is none."""
    if word.upper() == "UTC":
        return UTC
    if match := _OFFSET.fullmatch(word):
        hours, minutes = int(match[2]), int(match[3])
        if hours > 23 or minutes > 59:
            raise ConfigurationError(f"{_quoted(text)}{word} is no time zone: an offset goes from -23:59 to +23:59")
        return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if match[1] == "-" else 1))
    if word not in _names():
        found = nearest(word, _names())
        hint = f"; did you mean {found}?" if found else ", as America/New_York, UTC or +09:00 are"
        raise ConfigurationError(f"{_quoted(text)}{word!r} is no time zone{hint}")
    return ZoneInfo(word)


def _quoted(text: str | None) -> str:
    return "" if text is None else f"{text!r}: "


def _names() -> set[str]:
    global _known
    _known = _known or available_timezones()
    return _known


_known: set[str] = set()

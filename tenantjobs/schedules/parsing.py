"""From a text to a schedule: words, a cron expression, an alias as ``@daily``, or an interval as ``1h``."""

from __future__ import annotations

from datetime import UTC, tzinfo

from tenantjobs.errors import ConfigurationError
from tenantjobs.schedules import expressions, words
from tenantjobs.schedules.intervals import duration
from tenantjobs.schedules.said import of_interval
from tenantjobs.schedules.schedule import Schedule
from tenantjobs.schedules.zones import looks_like_zone, zone_of

LONGEST = 256  # characters


def parse(text: str) -> Schedule:
    """The schedule that ``text`` says in words, as a cron expression, as ``@daily``, or as an interval, ``1h``.

    A time zone may stand at its end, with or without ``in``. ``ConfigurationError`` says which word is not understood,
    with the one that was meant; or why there is no expression for it, with the nearest for which there is one.
    """
    body, zone = _split(text)
    if (found := duration(body)) is not None:
        return _made(text, of_interval(text, *found).crons(), zone)
    if expressions.looks_like_cron(body):
        return _made(text, expressions.read(text, body), zone)
    return _made(text, words.read(text, body).crons(), zone)


def cron(text: str) -> Schedule:
    """The schedule of a cron expression: five fields, six that begin with seconds, or an alias as ``@daily``."""
    body, zone = _split(text)
    return _made(text, expressions.read(text, body), zone)


def every(text: str) -> Schedule:
    """The schedule of an interval, as ``"1h"`` or ``"15m"``: by the clock, so ``1h`` is at every full hour."""
    body, zone = _split(text)
    found = duration(body)
    if found is None:
        raise ConfigurationError(f"{text!r} is no interval: a number and a unit, s, m, h, d or w, as in 30s, 15m or 1h")
    return _made(text, of_interval(text, *found).crons(), zone)


def _made(text: str, crons: tuple[str, ...], zone: tzinfo | None) -> Schedule:
    return Schedule(text, expressions.checked(text, crons), UTC if zone is None else zone, zone is not None)


def _split(text: object) -> tuple[str, tzinfo | None]:
    """The text without its zone, and the zone."""
    if not isinstance(text, str):
        raise ConfigurationError(f"a schedule is a text, not {text!r:.80}")
    if len(text) > LONGEST:
        raise ConfigurationError(f"a schedule has {LONGEST} characters at most, this one has {len(text)}")
    body = text.strip()
    if not body:
        raise ConfigurationError("a schedule is empty: write it as in every day at 9am")
    *before, last = body.split()
    if not before or not looks_like_zone(last):
        return body, None
    if len(before) > 1 and before[-1].lower() in ("in", "on"):
        before.pop()
    return " ".join(before), zone_of(last, text)

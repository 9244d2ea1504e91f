"""What options take: ids, names, moments and seconds. What is none is refused, and not looked for in vain."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click

from tenantjobs import clock
from tenantjobs.envelope import known_id
from tenantjobs.identity import canonical_id
from tenantjobs.view import CLAIMED, RUNNING, STATES

AGE = re.compile(r"(?P<count>\d+)(?P<unit>[smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = 100 * 365 * 86_400.0  # seconds: no thread and no calendar waits for ever


class Seconds(click.FloatRange):
    """A number of them; ``nan`` passes every comparison with what it must not be."""

    def __init__(self, least: float = 0, *, above: bool = False) -> None:
        super().__init__(least, min_open=above)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not found <= LONGEST:
            self.fail(f"{value} is no number of seconds up to {LONGEST:g}", param, ctx)
        return found


class State(click.Choice[str]):
    """One that a job can be in. The database's word for a job that runs is taken, too, and not named."""

    def __init__(self) -> None:
        super().__init__(STATES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(RUNNING if value == CLAIMED else value, param, ctx)


def tenant(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reads the id of a tenant."""
    try:
        return None if value is None else canonical_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def name(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reads a name, which says something."""
    if value is not None and not value.strip():
        raise click.BadParameter("is empty: leave the option out for any")
    return value


def job(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reads the id of a job behind which a page begins."""
    return _known(value, "a job: give that of the last one of the page before, as `jobs list` prints it")


def batch(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reads the id of a batch."""
    return _known(value, "a batch: it is `batch.id` where the batch was made")


def worker(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reads the id or the pid of a process."""
    if value is not None and value.isascii() and value.isdigit():
        return value
    return _known(value, "a process, nor a pid: `tenantjobs processes` has both")


def moment(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Reads ``2h``, which is that long ago, or a moment in ISO 8601 with its zone."""
    if value is None:
        return None
    age = AGE.fullmatch(value)
    if age is not None:
        return _ago(value, **{UNITS[age["unit"]]: int(age["count"])})
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter(
            f"{value!r} is neither an age, as 90s, 30m, 2h, 7d or 4w, nor a moment with its zone, as 2026-03-01T08:00Z"
        )
    return found


def _ago(value: str, **age: int) -> datetime:
    try:
        return clock.now() - timedelta(**age)
    except OverflowError:
        raise click.BadParameter(f"{value} ago there were no jobs, and no calendar: give a shorter age") from None


def _known(value: str | None, what: str) -> str | None:
    try:
        return None if value is None else known_id(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no id of {what}") from None

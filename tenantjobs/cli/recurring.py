"""``tenantjobs recurring``: what is enqueued again and again, and when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from tenantjobs import clock
from tenantjobs.cli import values
from tenantjobs.cli.lazily import recurring
from tenantjobs.cli.output import Failure, as_json, json_option, table
from tenantjobs.config.mistakes import meant

if TYPE_CHECKING:
    from tenantjobs.recurring.managing import Shown
    from tenantjobs.schedules import Schedule


class Preview(msgspec.Struct, frozen=True):
    """When something comes due, next and after that."""

    key: str | None
    schedule: str
    crons: tuple[str, ...]
    zone: str
    words: str
    times: list[datetime]


@click.group("recurring")
def command() -> None:
    """Look at recurring jobs, run and pause them."""


@command.command("list")
@json_option
def listed(wants_json: bool) -> None:
    """List the entries: of the file, and those scheduled at run time."""
    found = recurring("managing").shown()
    if wants_json:
        as_json(found)
    elif not found:
        click.echo(f"no recurring entries: {_file()} would have them")
    else:
        table(_row(shown) for shown in found)


@command.command("preview")
@click.argument("name", metavar="KEY|SCHEDULE", required=False)
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many times.")
@json_option
def preview(name: str | None, count: int, wants_json: bool) -> None:
    """Show when entries come due next; or what a schedule means, as "every day at 9am"."""
    found = [_preview(key, schedule, count) for key, schedule in _schedules(name)]
    if wants_json:
        as_json(found)
        return
    for each in found:
        click.echo(f"{each.key or each.schedule}: {each.words}")
        table((cron, "" if number else each.zone) for number, cron in enumerate(each.crons))
        table([(time.isoformat(sep=" "),) for time in each.times])


@command.command("run")
@click.argument("key")
@click.option("--tenant", callback=values.tenant, metavar="ID", help="For this tenant alone, where it is for each.")
@json_option
def run(key: str, tenant: str | None, wants_json: bool) -> None:
    """Enqueue an entry now, beside its schedule."""
    count = recurring("managing").run(key, tenant_id=tenant)
    if wants_json:
        as_json({"key": key, "enqueued": count})
    else:
        click.echo(f"enqueued {count} job{'' if count == 1 else 's'}")


@command.command("pause")
@click.argument("key")
@json_option
def pause(key: str, wants_json: bool) -> None:
    """Enqueue an entry no more until it is resumed."""
    recurring("managing").pause(key)
    _say(key, "paused", wants_json)


@command.command("resume")
@click.argument("key")
@json_option
def resume(key: str, wants_json: bool) -> None:
    """Go on with an entry; what came due meanwhile is left out."""
    recurring("managing").resume(key)
    _say(key, "resumed", wants_json)


def _say(key: str, what: str, wants_json: bool) -> None:
    if wants_json:
        as_json({"key": key, "state": what})
    else:
        click.echo(f"{what} {key}")


def _schedules(name: str | None) -> Iterator[tuple[str | None, Schedule]]:
    """Those of the file, one of them, or the one that is said; a database is not wanted for any of this."""
    if name is not None and any(character in name for character in " *@"):
        yield None, import_module("tenantjobs.schedules").parse(name)
        return
    found = recurring("entries").of_file()
    if name is not None and name not in found:
        raise Failure(f"{_file()} has no entry {name!r}{meant(name, found)}")
    for key, entry in found.items():
        if name in (None, key):
            yield key, entry.schedule


def _file() -> Path:
    path: Path = recurring("entries").read().path
    return path


def _preview(key: str | None, schedule: Schedule, count: int) -> Preview:
    times = list(islice(_times(schedule), count))
    return Preview(key, schedule.text, schedule.crons, _zone(schedule.zone), schedule.explain(), times)


def _times(schedule: Schedule) -> Iterator[datetime]:
    time = clock.now()
    while True:
        time = schedule.next_after(time)
        yield time


def _zone(zone: tzinfo) -> str:
    return str(zone)


def _row(shown: Shown) -> tuple[str, ...]:
    next_at = "paused" if shown.next_at is None else f"next {shown.next_at:%Y-%m-%d %H:%M:%S%z}"
    last_at = "" if shown.last_at is None else f"last {shown.last_at:%Y-%m-%d %H:%M:%S%z}"
    return (shown.key, shown.job, shown.schedule, shown.zone, shown.scope, next_at, last_at)

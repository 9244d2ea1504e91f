"""``tenantjobs jobs list`` and ``stats``: many jobs at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from tenantjobs import clock
from tenantjobs.cli import choosing, controlling, values
from tenantjobs.cli.output import as_json, json_option, table
from tenantjobs.controls import Line
from tenantjobs.stored import WINDOW
from tenantjobs.upkeep import AT_ONCE, JobStats
from tenantjobs.view import STATES, JobFilter, JobView

LIMIT = 50
TOP = 10
HEADS = ("id", "job", "state", "tenant", "queue", "enqueued", "attempts", "last error")
WIDEST_ERROR = 60


@click.command("list")
@choosing.filtered
@click.option("--limit", type=click.IntRange(1, AT_ONCE), default=LIMIT, show_default=True, help="So many at most.")
@click.option(
    "--after", callback=values.job, metavar="ID", help="Those behind this one: the last one of the page before."
)
@click.option("--oldest", is_flag=True, help="The oldest first, and not the newest.")
@json_option
def list_(which: JobFilter, limit: int, after: str | None, oldest: bool, wants_json: bool) -> None:
    """List jobs, the newest first."""
    found = choosing.jobs(which).page(after=after, limit=limit, newest_first=not oldest)
    if wants_json:
        as_json(found)
    elif not found:
        click.echo("there are no such jobs")
    else:
        table([HEADS, *map(_cells, found)], indent=0)
        if len(found) == limit:
            click.echo(f"there may be more: --after {found[-1].id}")


@click.command("stats")
@choosing.filtered
@click.option(
    "--window", type=values.Seconds(1), default=WINDOW, show_default=True, metavar="SECONDS", help="Of what is new."
)
@click.option("--top", type=click.IntRange(1), default=TOP, show_default=True, help="So many lines of each kind.")
@json_option
def stats(which: JobFilter, window: float, top: int, wants_json: bool) -> None:
    """Count jobs by state, queue, tenant and name; how old they are; how many came and ended.

    It counts rows, which takes a while where there are millions.
    """
    found = choosing.jobs(which).stats(window=window)
    if wants_json:
        as_json(found)
    elif not found.states:
        click.echo("there are no such jobs")
    else:
        _print(found, top)


def _cells(found: JobView) -> Sequence[str]:
    error = "" if found.last_error is None else _error(found.last_error.error_class, found.last_error.message)
    return (
        found.id,
        found.name,
        found.state,
        found.tenant_id or "none",
        found.queue,
        _ago(found),
        str(found.attempts),
        error,
    )


def _error(error_class: str, message: str) -> str:
    first = message.partition("\n")[0]
    text = f"{error_class.removeprefix('builtins.')}: {first}".rstrip(": ")
    return text if len(text) <= WIDEST_ERROR else f"{text[: WIDEST_ERROR - 3]}..."


def _ago(found: JobView) -> str:
    return f"{age((clock.now() - found.enqueued_at).total_seconds())} ago"


def _print(found: JobStats, top: int) -> None:
    states = [state for state in STATES if state in found.states]
    rows = [(state, str(found.states[state]), _oldest(found, state)) for state in states]
    table([("state", "jobs", "oldest"), *rows], indent=0)
    ended = ", ".join(f"{found.ended[state]} {state}" for state in STATES if state in found.ended)
    click.echo(f"\nin the last {age(found.window)}: {found.enqueued} enqueued, {ended or 'none ended'}")
    for kind, lines in (("queue", found.queues), ("tenant", found.tenants), ("job", found.jobs)):
        if lines:
            click.echo()
            table([(kind, *controlling.HEADS), *_longest(lines, top)], indent=0)


def _longest(lines: Sequence[Line], top: int) -> Iterator[Sequence[str]]:
    """Those with the most jobs."""
    by_size = sorted(lines, key=lambda line: -(line.ready + line.running + line.scheduled + line.blocked + line.failed))
    for line in by_size[:top]:
        yield line.name or "none", *controlling.counts(line)
    if len(lines) > top:
        yield f"and {len(lines) - top} more", *[""] * len(controlling.HEADS)


def _oldest(found: JobStats, state: str) -> str:
    return age(found.oldest[state]) if state in found.oldest else ""


def age(seconds: float) -> str:
    """``5 s``, ``12 min``, ``3 h``, ``2 d``: as much as one wants to know."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

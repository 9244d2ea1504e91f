"""Options that say which jobs, the same for every command of ``tenantjobs jobs``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast

import click

from tenantjobs import adapter, clock, runtime, stored
from tenantjobs.cli.output import Failure
from tenantjobs.identity import canonical_id
from tenantjobs.upkeep import KeepsJobs
from tenantjobs.view import STATES, JobFilter

F = TypeVar("F", bound=Callable[..., Any])

AGE = re.compile(r"(?P<count>\d+)(?P<unit>[smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def said(state: str) -> str:
    """The state as people say it."""
    return "running" if state == "claimed" else state


SAID = tuple(map(said, STATES))


def moment(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Reads ``2h``, which is that long ago, or a moment in ISO 8601 with its zone."""
    if value is None:
        return None
    age = AGE.fullmatch(value)
    if age is not None:
        return clock.now() - timedelta(**{UNITS[age["unit"]]: int(age["count"])})
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter(
            f"{value!r} is neither an age, as 90s, 30m, 2h, 7d or 4w, nor a moment with its zone, as 2026-03-01T08:00Z"
        )
    return found


def tenant(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reads the id of a tenant."""
    try:
        return None if value is None else canonical_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


OPTIONS = (
    click.option(
        "--state", "states", type=click.Choice(SAID), multiple=True, metavar="STATE", help=f"One of {', '.join(SAID)}."
    ),
    click.option("--tenant", callback=tenant, metavar="ID", help="Of this tenant."),
    click.option("--no-tenant", is_flag=True, help="Of no tenant."),
    click.option("--queue", metavar="NAME", help="In this queue."),
    click.option("--job", metavar="NAME", help="Of this name."),
    click.option("--error", metavar="CLASS", help="Whose last failed attempt has raised this."),
    click.option("--worker", metavar="ID|PID", help="That run in this process."),
    click.option("--batch", metavar="ID", help="Of this batch."),
    click.option("--enqueued-after", callback=moment, metavar="WHEN", help="A moment with its zone, or an age: 2h."),
    click.option("--enqueued-before", callback=moment, metavar="WHEN"),
    click.option("--finished-after", callback=moment, metavar="WHEN", help="When they ended, whichever way."),
    click.option("--finished-before", callback=moment, metavar="WHEN"),
)


def filtered(command: F) -> F:
    """Give ``command`` the options, as the parameter ``which``."""

    @wraps(command)
    def choosing(*, states: tuple[str, ...], no_tenant: bool, **values: Any) -> Any:
        said = {name: values.pop(name) for name in JobFilter.__struct_fields__ if name in values}
        if no_tenant and said["tenant"] is not None:
            raise click.UsageError("--tenant and --no-tenant: leave one of them out")
        if no_tenant:
            said["tenant"] = ""
        which = JobFilter(states=tuple("claimed" if state == "running" else state for state in states), **said)
        return command(which=which, **values)

    for option in reversed(OPTIONS):
        choosing = option(choosing)
    return cast(F, choosing)


def jobs(which: JobFilter) -> stored.StoredJobs:
    """Those of the configured queue, of all tenants: who may run the command may see them."""
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, KeepsJobs):
        raise Failure(
            f"the adapter {settings.adapter!r} does not show its jobs: look at them with the tools of its queue"
        )
    return stored.StoredJobs(queue.stored, which)

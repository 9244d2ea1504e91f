"""Options that say which jobs, the same for every command of ``tenantjobs jobs``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar, cast

import click

from tenantjobs import adapter, definition, runtime, stored
from tenantjobs.cli import values
from tenantjobs.cli.output import Failure
from tenantjobs.upkeep import KeepsJobs
from tenantjobs.view import STATES, JobFilter

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--state",
        "states",
        type=values.State(),
        multiple=True,
        metavar="STATE",
        help=f"One of {', '.join(STATES)}; may be given again.",
    ),
    click.option("--tenant", callback=values.tenant, metavar="ID", help="Of this tenant."),
    click.option("--no-tenant", is_flag=True, help="Of no tenant."),
    click.option("--queue", callback=values.name, metavar="NAME", help="In this queue."),
    click.option("--job", callback=values.name, metavar="NAME", help="Of this name."),
    click.option("--error", callback=values.name, metavar="CLASS", help="Whose last failed attempt has raised this."),
    click.option("--worker", callback=values.worker, metavar="ID|PID", help="That run in this process."),
    click.option("--batch", callback=values.batch, metavar="ID", help="Of this batch."),
    click.option(
        "--enqueued-after", callback=values.moment, metavar="WHEN", help="A moment with its zone, or an age: 2h."
    ),
    click.option("--enqueued-before", callback=values.moment, metavar="WHEN"),
    click.option("--finished-after", callback=values.moment, metavar="WHEN", help="When they ended, whichever way."),
    click.option("--finished-before", callback=values.moment, metavar="WHEN"),
)


def filtered(command: F) -> F:
    """Give ``command`` the options, as the parameter ``which``."""

    @wraps(command)
    def choosing(*, no_tenant: bool, **given: Any) -> Any:
        said = {name: given.pop(name) for name in JobFilter.__struct_fields__ if name in given}
        if no_tenant and said["tenant"] is not None:
            raise click.UsageError("--tenant and --no-tenant: leave one of them out")
        if no_tenant:
            said["tenant"] = ""
        for what in ("enqueued", "finished"):
            _refuse_empty(what, said[f"{what}_after"], said[f"{what}_before"])
        return command(which=JobFilter(**said), **given)

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
    if which.job is not None and definition.lookup(which.job) is None:
        like = definition.nearest_name(which.job)
        hint = f": did you mean {like!r}?" if like else ""
        # Not an error: jobs are there of names that the application has no more.
        click.echo(f"the application defines no job {which.job!r}{hint}", err=True)
    return stored.StoredJobs(queue.stored, which)


def _refuse_empty(what: str, after: datetime | None, before: datetime | None) -> None:
    if after is not None and before is not None and after >= before:
        raise click.UsageError(
            f"--{what}-after is not before --{what}-before, so that there is nothing between them: change them round"
        )

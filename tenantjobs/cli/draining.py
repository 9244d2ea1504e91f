"""``tenantjobs tenants drain`` and ``open``: nothing new for a tenant, and jobs as ever again."""

from __future__ import annotations

import time

import click

from tenantjobs.cli import controlling, values
from tenantjobs.cli.bar import bar
from tenantjobs.cli.drawing import drawing
from tenantjobs.cli.output import Failure, as_json, json_option
from tenantjobs.cli.tenant import tenant_argument
from tenantjobs.controls import Controls, Line
from tenantjobs.progress import Progress

LOOK = 1.0  # seconds between two looks


@click.command("drain")
@tenant_argument
@controlling.reason_option
@click.option("--wait", is_flag=True, help="Come back when no job of the tenant waits or runs.")
@click.option("--timeout", type=values.Seconds(), metavar="SECONDS", help="How long to wait, at most.")
@json_option
def drain(tenant: str, reason: str | None, wait: bool, timeout: float | None, wants_json: bool) -> None:
    """Take nothing new for a tenant, and let what it has run out.

    Whoever enqueues for it gets the error TenantClosed, until `tenants open`. What its
    own jobs enqueue is taken, and so are next jobs of chains and callbacks of batches.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout says how long to --wait")
    controls = controlling.controls()
    is_new = controls.drain(tenant, reason=reason)
    left = controls.line("tenant", tenant)
    if wait and left.unfinished:
        left = _waited(controls, tenant, left, timeout)
    if wants_json:
        as_json({"tenant": tenant, "closed": "draining", "unfinished": left.unfinished, "line": left})
    elif not left.unfinished:
        click.echo(f"tenant {tenant} is drained: nothing waits or runs, and nothing new is taken")
    else:
        click.echo(f"tenant {tenant} {'is being' if is_new else 'was already being'} drained: {_told(left)}")
    if wait and left.unfinished:
        raise Failure(
            f"tenant {tenant} is not drained after {timeout:g} s: {_told(left)}{_in_the_way(controls, tenant)}"
        )


@click.command("open")
@tenant_argument
@click.option("--yes", "-y", is_flag=True, help="The id of a purged tenant belongs to a new one: do not ask.")
@json_option
def open_(tenant: str, yes: bool, wants_json: bool) -> None:
    """Take jobs for a tenant again that was drained, or purged."""
    controls = controlling.controls()
    said = controls.find("tenant", tenant)
    is_tombstone = said is not None and said.closed == "purged"
    if is_tombstone and not yes:
        if wants_json:
            raise click.UsageError(f"tenant {tenant} was purged: with --json nobody is asked, so say --yes")
        click.confirm(
            f"tenant {tenant} was purged. Does this id belong to a new tenant, and has nobody messages of the old one?",
            abort=True,
            err=True,
        )
    opened = controls.open(tenant, purged=is_tombstone)
    told = f"tenant {tenant} takes jobs again" if opened else f"tenant {tenant} was not closed"
    controlling.tell("tenant", tenant, told, wants_json=wants_json)


def _waited(controls: Controls, tenant: str, left: Line, timeout: float | None) -> Line:
    since, most = time.monotonic(), left.unfinished
    with drawing() as draw:
        while left.unfinished and (timeout is None or time.monotonic() - since < timeout):
            most = max(most, left.unfinished)  # its jobs may enqueue others
            draw(f"{bar(Progress(most - left.unfinished, most))}  {_told(left)}")
            time.sleep(LOOK if timeout is None else min(LOOK, timeout))
            left = controls.line("tenant", tenant)
    return left


def _told(line: Line) -> str:
    counts = {name: getattr(line, name) for name in ("ready", "running", "scheduled", "blocked")}
    said = [f"{count} {name}" for name, count in counts.items() if count]
    return ", ".join([*said, f"{line.outbox} in the outbox"] if line.outbox else said)


def _in_the_way(controls: Controls, tenant: str) -> str:
    said = controls.find("tenant", tenant)
    return "; it is paused, so that none of them starts" if said is not None and said.paused else ""

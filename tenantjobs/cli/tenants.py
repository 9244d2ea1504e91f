"""``tenantjobs tenants``: how much waits for each, and what each may have."""

from __future__ import annotations

from collections.abc import Callable

import click

from tenantjobs.cli import controlling, values
from tenantjobs.cli.draining import drain, open_
from tenantjobs.cli.exporting import export, verify
from tenantjobs.cli.of_tenant import cancel, retry
from tenantjobs.cli.output import as_json, json_option, table
from tenantjobs.cli.purging import purge
from tenantjobs.cli.tenant import tenant_argument
from tenantjobs.controls import WINDOW, Control, Line, Share

OFF = "off"
MINUTE = 60.0


def _number(kind: type[int] | type[float]) -> Callable[[click.Context, click.Parameter, str], float | None]:
    """Reads a number of ``kind``, or ``off``, which is None."""

    def read(_ctx: click.Context, _parameter: click.Parameter, value: str) -> float | None:
        if value == OFF:
            return None
        try:
            return kind(value)
        except ValueError:
            whole = "a whole number" if kind is int else "a number"
            raise click.BadParameter(f"{value!r} is neither {whole} nor {OFF!r}") from None

    return read


@click.group("tenants")
def command() -> None:
    """See how much waits for each tenant, pause and drain tenants, and say what they may have."""


@command.command("list")
@click.option(
    "--window",
    type=values.Seconds(above=True),
    default=WINDOW,
    show_default=True,
    metavar="SECONDS",
    help="For how long back shares are counted.",
)
@json_option
def list_(window: float, wants_json: bool) -> None:
    """List the tenants that have unfinished jobs, or of which something is said.

    Share is the part that a tenant had of the jobs that started lately, and due the
    part that its weight entitles it to. It counts jobs, which takes a while where there
    are millions.
    """
    found = controlling.found("tenant")
    lines = [line for line, _ in found.values()]
    shares = {share.name: share for share in controlling.controls().shares(window, lines) or ()}
    found |= {name: (Line(name=name), None) for name in shares if name not in found}
    if wants_json:
        as_json(
            [
                {"tenant": line, "share": shares.get(name), "control": control}
                for name, (line, control) in sorted(found.items())
            ]
        )
    elif not found:
        click.echo("nothing waits for any tenant")
    else:
        heads = ("tenant", *controlling.HEADS, "share", "due", "weight", "cap", "rate", "paused or closed")
        rows = [
            (name or "none", *controlling.counts(line), *_parts(shares.get(name)), *_said(control), _stopped(control))
            for name, (line, control) in sorted(found.items())
        ]
        table([heads, *rows], indent=0)


@command.command("pause")
@tenant_argument
@controlling.reason_option
@json_option
def pause(tenant: str, reason: str | None, wants_json: bool) -> None:
    """Let no more jobs of a tenant start. They can still be enqueued, and wait."""
    controlling.pause("tenant", tenant, reason, wants_json=wants_json)


@command.command("resume")
@tenant_argument
@json_option
def resume(tenant: str, wants_json: bool) -> None:
    """Let the jobs of a tenant start again."""
    controlling.resume("tenant", tenant, wants_json=wants_json)


@command.command("weight")
@tenant_argument
@click.argument("weight", callback=_number(float), metavar="NUMBER|off")
@json_option
def weight(tenant: str, weight: float | None, wants_json: bool) -> None:
    """Let a tenant start so many jobs where another one starts one."""
    controlling.controls().set_weight(tenant, weight)
    told = f"tenant {tenant} has the weight {1 if weight is None else weight:g}"
    controlling.tell("tenant", tenant, told, wants_json=wants_json)


@command.command("cap")
@tenant_argument
@click.argument("cap", callback=_number(int), metavar="NUMBER|off")
@json_option
def cap(tenant: str, cap: int | None, wants_json: bool) -> None:
    """Let at most so many jobs of a tenant run at once."""
    controlling.controls().set_cap(tenant, cap)
    told = f"tenant {tenant} has {'no cap' if cap is None else f'at most {cap} jobs running at once'}"
    controlling.tell("tenant", tenant, told, wants_json=wants_json)


@command.command("rate")
@tenant_argument
@click.argument("rate", callback=_number(int), metavar="NUMBER|off")
@click.option(
    "--per", type=values.Seconds(above=True), metavar="SECONDS", help="In any so many seconds.  [default: 60]"
)
@json_option
def rate(tenant: str, rate: int | None, per: float | None, wants_json: bool) -> None:
    """Let at most so many jobs of a tenant start in a stretch of time."""
    if rate is None and per is not None:
        raise click.UsageError(f"--per says in how many seconds so many jobs may start: leave it out beside {OFF!r}")
    per = MINUTE if per is None else per
    controlling.controls().set_rate(tenant, rate, per)
    told = f"tenant {tenant} starts {'any number of jobs' if rate is None else f'at most {rate} jobs in {per:g} s'}"
    controlling.tell("tenant", tenant, told, wants_json=wants_json)


def _parts(share: Share | None) -> tuple[str, str]:
    return ("", "") if share is None else (f"{share.share:.0%}", f"{share.entitled:.0%}")


def _said(control: Control | None) -> tuple[str, str, str]:
    if control is None:
        return "", "", ""
    weight = "" if control.weight is None else f"{control.weight:g}"
    cap = "" if control.cap is None else str(control.cap)
    return weight, cap, "" if control.rate is None else f"{control.rate.to} in {control.rate.seconds:g} s"


def _stopped(control: Control | None) -> str:
    """The cell that says that it is paused, or closed, and since when and why."""
    paused = controlling.paused(control)
    told = [f"paused {paused}"] if paused else []
    if control is not None and control.closed_at is not None:
        since = f"{control.closed} since {control.closed_at:%Y-%m-%d %H:%M:%S} UTC"
        told.append(f"{since}: {control.closed_for}" if control.closed_for else since)
    return ", ".join(told)


for each in (drain, open_, cancel, retry, export, verify, purge):
    command.add_command(each)

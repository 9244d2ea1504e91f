"""What ``tenantjobs queues``, ``tenants`` and ``jobs`` have in common: they say something of a line, and show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import click

from tenantjobs import adapter, runtime
from tenantjobs.cli.output import Failure, as_json
from tenantjobs.controls import Control, Controls, HasControls, Kind, Line

reason_option = click.option("--reason", metavar="TEXT", help="What people are told who ask why.")


def controls() -> Controls:
    """Those of the configured queue."""
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, HasControls):
        raise Failure(f"the adapter {settings.adapter!r} cannot be told: do it with the tools of its queue")
    return queue.controls


def pause(kind: Kind, name: str, reason: str | None, *, wants_json: bool) -> None:
    """Say it, and what came of it."""
    paused = controls().pause(kind, name, reason=reason)
    told = f"{kind} {name} is paused: what runs goes on" if paused else f"{kind} {name} was paused already"
    tell(kind, name, told, wants_json=wants_json)


def resume(kind: Kind, name: str, *, wants_json: bool) -> None:
    """Say it, and what came of it."""
    resumed = controls().resume(kind, name)
    tell(kind, name, f"{kind} {name} is resumed" if resumed else f"{kind} {name} was not paused", wants_json=wants_json)


def tell(kind: Kind, name: str, told: str, *, wants_json: bool) -> None:
    """What came of it in a sentence, or all that is said of ``name`` by now, for programs."""
    if wants_json:
        as_json({kind: name, "control": controls().find(kind, name)})
    else:
        click.echo(told)


def found(kind: Literal["queue", "tenant"]) -> dict[str, tuple[Line, Control | None]]:
    """All that have unfinished jobs, or of which something is said, by name."""
    queue = controls()
    lines = {line.name: line for line in queue.lines(kind)}
    said = {control.name: control for control in queue.all() if control.kind == kind}
    return {name: (lines.get(name) or Line(name=name), said.get(name)) for name in sorted({*lines, *said})}


def print_json(kind: str, lines: Iterable[tuple[Line, Control | None]]) -> None:
    """Each with what is said of it."""
    as_json([{kind: line, "control": control} for line, control in lines])


def counts(line: Line) -> tuple[str, ...]:
    """The cells of a line, for ``HEADS``."""
    lag = "" if line.lag is None else f"{line.lag:.1f} s"
    return (*(str(count) for count in (line.ready, line.running, line.scheduled, line.blocked, line.failed)), lag)


HEADS = ("ready", "running", "scheduled", "blocked", "failed", "lag")


def paused(control: Control | None) -> str:
    """The cell that says so, with the reason."""
    if control is None or control.paused_at is None:
        return ""
    since = f"since {control.paused_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{since}: {control.reason}" if control.reason else since

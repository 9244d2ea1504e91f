"""``tenantjobs processes``: who works on the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from tenantjobs import adapter, runtime
from tenantjobs.cli.output import Failure, as_json, json_option, table
from tenantjobs.view import ProcessView, ShowsProcesses


@click.command("processes")
@json_option
def command(wants_json: bool) -> None:
    """List the processes that work on the queue, and how they are."""
    found = _found()
    if wants_json:
        as_json(found)
    elif not found:
        click.echo("no process works on the queue: `tenantjobs work` starts one")
    else:
        table([("kind", "process", "heartbeat", "running", "queues"), *map(tuple, _rows(found))], indent=0)


def _found() -> list[ProcessView]:
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, ShowsProcesses):
        raise Failure(
            f"the adapter {settings.adapter!r} does not show its processes: look at them with the tools of its queue"
        )
    return queue.processes()


def _rows(found: list[ProcessView]) -> Iterator[Sequence[str]]:
    heads = {view.id for view in found}
    for view in found:
        under = "  " if view.supervisor in heads else ""
        yield (
            f"{under}{view.kind}",
            f"{view.pid} on {view.host}",
            _heartbeat(view),
            str(view.running) if view.threads is None else f"{view.running} of {view.threads}",
            ", ".join(view.queues),
        )


def _heartbeat(view: ProcessView) -> str:
    told = f"{view.heartbeat_age:.0f} s ago"
    return told if view.alive else f"{told}: dead"

"""``tenantjobs queues``: how much waits in each, and whether it may start."""

from __future__ import annotations

import click

from tenantjobs.cli import controlling
from tenantjobs.cli.intervening import act
from tenantjobs.cli.output import json_option, table
from tenantjobs.upkeep import BATCH
from tenantjobs.view import WAITING, JobFilter


@click.group("queues")
def command() -> None:
    """See how much waits in each queue, pause, resume and clear queues."""


@command.command("list")
@json_option
def list_(wants_json: bool) -> None:
    """List the queues that have unfinished jobs, or are paused.

    It counts jobs, which takes a while where there are millions.
    """
    found = controlling.found("queue")
    if wants_json:
        controlling.print_json("queue", found.values())
    elif not found:
        click.echo("nothing waits in any queue")
    else:
        rows = [(name, *controlling.counts(line), controlling.paused(said)) for name, (line, said) in found.items()]
        table([("queue", *controlling.HEADS, "paused"), *rows], indent=0)


@command.command("pause")
@click.argument("name", metavar="QUEUE")
@controlling.reason_option
@json_option
def pause(name: str, reason: str | None, wants_json: bool) -> None:
    """Let no more jobs of a queue start. They can still be enqueued, and wait."""
    controlling.pause("queue", name, reason, wants_json=wants_json)


@command.command("resume")
@click.argument("name", metavar="QUEUE")
@json_option
def resume(name: str, wants_json: bool) -> None:
    """Let the jobs of a queue start again."""
    controlling.resume("queue", name, wants_json=wants_json)


@command.command("clear")
@click.argument("name", metavar="QUEUE")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--reason", metavar="TEXT", help="Why, for the log and for whoever looks at a job.")
@json_option
def clear(name: str, yes: bool, reason: str | None, wants_json: bool) -> None:
    """Discard all jobs that wait in a queue. What runs is left to run."""
    act(
        "discard",
        "discarded",
        job_id=None,
        which=JobFilter(queue=name, states=WAITING),
        wants_all=False,
        yes=yes,
        batch_size=BATCH,
        wants_json=wants_json,
        reason=reason,
    )

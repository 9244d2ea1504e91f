"""``tenantjobs jobs``: what is in the queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import click

from tenantjobs import adapter, results, runtime
from tenantjobs.cli import controlling, intervening, listing
from tenantjobs.cli.bar import bar, following
from tenantjobs.cli.output import Failure, as_json, json_option, table
from tenantjobs.upkeep import MISSING
from tenantjobs.view import ExplainsJobs, FailedAttempt, JobView, KeepsResults, ShowsJobs

LOOK = 0.5  # seconds between two looks at a job that is followed
EARLIER = 10  # attempts that are shown beside the last one
LAST_LOOK = 1.5  # seconds until what a job told at its end is certainly written


@click.group("jobs")
def command() -> None:
    """Look at jobs, retry, discard and cancel them, and pause and resume those of a name."""


for _command in (listing.list_, listing.stats, *intervening.COMMANDS):
    command.add_command(_command)


@command.command("show")
@click.argument("job_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Show its progress until it is over; exit code 1 if it has failed.")
@json_option
@click.pass_context
def show(ctx: click.Context, job_id: str, follow: bool, wants_json: bool) -> None:
    """Show a job: where it stands, what it waits for, how far it has come."""
    if follow and wants_json:
        raise click.UsageError("--follow draws a bar, and --json prints one object: leave one of them out")
    found = _found(job_id)
    if follow and not found.is_over:
        found = following(_looks(found), f"{found.name} {found.id}")
    if wants_json:
        as_json(found)
    else:
        _print(found)
    ctx.exit(1 if follow and found.state in ("failed", "quarantined") else 0)


@command.command("result")
@click.argument("job_id", metavar="ID")
def result(job_id: str) -> None:
    """Print what a job has returned, as JSON, if it says keep_result=True."""
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, KeepsResults):
        raise Failure(f"the adapter {settings.adapter!r} keeps no results of its jobs")
    found = queue.result(job_id)
    if found is None:
        raise Failure(MISSING.format(job_id))
    as_json(results.tree(found))


@command.command("explain")
@click.argument("job_id", metavar="ID")
@json_option
def explain(job_id: str, wants_json: bool) -> None:
    """Say why a job waits, and what is to be removed first."""
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, ExplainsJobs):
        raise Failure(f"the adapter {settings.adapter!r} does not know why a job waits")
    found = queue.explain(job_id)
    if found is None:
        raise Failure(MISSING.format(job_id))
    if wants_json:
        as_json(found)
    elif not found.waits:
        click.echo(f"job {found.id} does not wait: it is {found.state}")
    else:
        click.echo(f"job {found.id} waits for")
        for reason in found.reasons:
            click.echo(f"  {reason.text}")


@command.command("pause")
@click.argument("name", metavar="JOB")
@controlling.reason_option
@json_option
def pause(name: str, reason: str | None, wants_json: bool) -> None:
    """Let no more jobs of this name start. They can still be enqueued, and wait."""
    controlling.pause("job", name, reason, wants_json=wants_json)


@command.command("resume")
@click.argument("name", metavar="JOB")
@json_option
def resume(name: str, wants_json: bool) -> None:
    """Let the jobs of this name start again."""
    controlling.resume("job", name, wants_json=wants_json)


def _looks(found: JobView) -> Iterator[JobView]:
    """The job as it is now, again and again until it is over."""
    yield found
    while not found.is_over:
        time.sleep(LOOK)
        found = _found(found.id)
        yield found
    time.sleep(LAST_LOOK)
    yield _found(found.id)


def _found(job_id: str) -> JobView:
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, ShowsJobs):
        raise Failure(
            f"the adapter {settings.adapter!r} does not show its jobs: look at them with the tools of its queue"
        )
    found = queue.show(job_id)
    if found is None:
        raise Failure(MISSING.format(job_id))
    return found


def _print(found: JobView) -> None:
    click.echo(f"{found.name} {found.id}")
    table(_rows(found))


def _rows(found: JobView) -> Iterator[tuple[str, str]]:
    yield "state", _state(found)
    if found.waits_for is not None:
        yield "waits for", found.waits_for
    if found.progress is not None:
        yield "progress", bar(found.progress)
    yield "tenant", found.tenant_id or "none"
    yield "queue", found.queue if not found.priority else f"{found.queue}, priority {found.priority}"
    yield "attempts", f"{found.attempts} so far"
    yield "enqueued", _moment(found.enqueued_at)
    if found.last_error is not None:
        yield "last error", _raised(found.last_error)
        yield "", f"in attempt {found.last_error.attempt}, {_moment(found.last_error.at)}"
    before = found.history[:-1]
    for number, failed in enumerate(before[-EARLIER:]):
        said = f"attempt {failed.attempt}, {_moment(failed.at)}: {_raised(failed)}"
        yield "" if number else "before", said.partition("\n")[0]
    if len(before) > EARLIER:
        yield "", f"and {len(before) - EARLIER} before those: --json has all of them, with their tracebacks"


def _raised(failed: FailedAttempt) -> str:
    return f"{failed.error_class.removeprefix('builtins.')}: {failed.message}".rstrip(": ")


def _state(found: JobView) -> str:
    if found.claimed_at is not None:
        return f"running since {_moment(found.claimed_at)}, in {found.worker}"
    elif found.finished_at is not None:
        because = f": {found.reason}" if found.reason else ""
        return f"{found.state} {_moment(found.finished_at)}{because}"
    elif found.state == "scheduled" and found.due_at is not None:
        return f"scheduled for {_moment(found.due_at)}"
    else:
        return found.state


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"

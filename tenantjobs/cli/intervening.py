"""What ``tenantjobs jobs`` does by hand, from ``retry`` to ``clear``: one job by its id, or all that are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from tenantjobs.cli import choosing
from tenantjobs.cli.bar import telling
from tenantjobs.cli.choosing import F
from tenantjobs.cli.output import as_json, json_option
from tenantjobs.stored import Handled, StoredJobs
from tenantjobs.upkeep import AT_ONCE, BATCH, POSSIBLE, Verb
from tenantjobs.view import JobFilter

HOW = (
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
    click.option(
        "--batch-size",
        type=click.IntRange(1, AT_ONCE),
        default=BATCH,
        show_default=True,
        help="Jobs of one transaction.",
    ),
    json_option,
)


def taking(*which: Callable[[Any], Any]) -> Callable[[F], F]:
    """Give a command the options that say which jobs, and after them those that say how."""

    def give(command: F) -> F:
        for option in reversed((*which, *HOW)):
            command = option(command)
        return command

    return give


acting = taking(
    click.argument("job_id", metavar="[ID]", required=False),
    choosing.filtered,
    click.option("--all", "wants_all", is_flag=True, help="All jobs, where no option says which."),
)


@click.command("retry")
@acting
def retry(**asked: Any) -> None:
    """Have failed jobs run again as if they had never been tried.

    One by its ID, or all that have failed and that the options say; those in
    quarantine with --state quarantined. Ids, tenants, arguments and the history of
    attempts stay as they are.
    """
    act("retry", "retried", **asked)


@click.command("discard")
@acting
@click.option("--reason", metavar="TEXT", help="Why, for the log and for whoever looks at the job.")
def discard(**asked: Any) -> None:
    """Give up jobs that wait, have failed or are in quarantine.

    For its batch such a job has failed. What runs is left to run.
    """
    act("discard", "discarded", **asked)


@click.command("cancel")
@acting
def cancel(**asked: Any) -> None:
    """Take back jobs that have not started, as if they had not been enqueued.

    Those that run are told to stop: an async job where it awaits, one with steps at
    its next checkpoint, any other one only if it asks whether it was cancelled.
    """
    act("cancel", "cancelled", **asked)


@click.command("run-now")
@acting
def run_now(**asked: Any) -> None:
    """Have scheduled jobs be due now."""
    act("run_now", "due now", **asked)


@click.command("clear")
@acting
def clear(**asked: Any) -> None:
    """Forget jobs that are over, with their history.

    Those that have finished or were discarded; with --state failed those that have
    failed. Workers forget the former after a day by themselves ([db] keep_finished).
    """
    act("clear", "cleared", **asked)


COMMANDS = (retry, discard, cancel, run_now, clear)


def act(
    verb: Verb,
    done: str,
    *,
    job_id: str | None,
    which: JobFilter,
    wants_all: bool,
    yes: bool,
    batch_size: int,
    wants_json: bool,
    reason: str | None = None,
) -> None:
    """Do ``verb`` about one job, or about many when people have agreed; they are ``done`` then."""
    says_which = which != JobFilter()
    if job_id is not None and (says_which or wants_all):
        raise click.UsageError("an ID is one job, and --all and the other options say many: leave one of them out")
    if job_id is None and not (says_which or wants_all):
        raise click.UsageError("which jobs? Give an ID, options such as --queue or --error, or --all")
    _refuse_impossible(verb, done, which)
    jobs = choosing.jobs(which)
    if job_id is not None:
        changed = jobs.change(verb, job_id, reason=reason)
        handled = Handled(done=1) if changed else Handled(told=1)
        told = f"job {job_id} is {done}" if changed else f"job {job_id} runs: it is told to stop"
    else:
        total = _agreed(verb, done, jobs, yes=yes, asks=not wants_json)
        handled = jobs.change_all(verb, reason=reason, batch_size=batch_size, tell=telling(total))
        also = f", {handled.told} that run are told to stop" if handled.told else ""
        told = f"{_jobs(handled.done)} {done}{also}{_skipped(handled)}"
    if wants_json:
        as_json(handled)
    else:
        click.echo(told)


def _refuse_impossible(verb: Verb, done: str, which: JobFilter) -> None:
    """States of which no job would be left: whoever names them means something else."""
    if beside := [state for state in which.states if state not in POSSIBLE[verb]]:
        raise click.UsageError(
            f"no job that is {_either(beside)} can be {done}: only one that is {_either(POSSIBLE[verb])}"
        )


def _either(states: Iterable[str]) -> str:
    return " or ".join(states)


def _agreed(verb: Verb, done: str, jobs: StoredJobs, *, yes: bool, asks: bool) -> int:
    """How many it is about, when somebody has said that they are meant."""
    total = jobs.meant(verb).count()
    if total and not yes:
        if not asks:
            raise click.UsageError(f"{_jobs(total)} would be {done}: with --json nobody is asked, so say --yes")
        click.confirm(f"{_jobs(total)} will be {done}. Go on?", abort=True, err=True)
    return total


def _skipped(handled: Handled) -> str:
    if not handled.skipped:
        return ""
    return f", {handled.skipped} skipped: they are in another state by now, or another one has their unique key"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"

"""Progress as a bar: of a job printed once, or drawn again on one line of a terminal; of work on many jobs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable

import click

from tenantjobs.progress import Progress
from tenantjobs.stored import Handled
from tenantjobs.view import JobView

WIDTH = 30


def bar(progress: Progress) -> str:
    """``[#########---------------------]  30 %  3 of 10``; without a total, what is done."""
    share = progress.share
    if share is None:
        return f"{progress.done:g} done"
    # Full only when it is: what is nearly done is not done.
    full = int(share * WIDTH)
    return f"[{'#' * full}{'-' * (WIDTH - full)}] {int(share * 100):3d} %  {progress.done:g} of {progress.total:g}"


def following(looks: Iterable[JobView], name: str) -> JobView:
    """Show each look, and give the last one. What is no terminal gets a line whenever there is something new."""
    drawn = ""
    last: JobView | None = None
    for last in looks:
        line = _line(last, name)
        if line == drawn:
            continue
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be drawn over
            click.echo("\r\033[K" + line[:width], nl=False)
        else:
            click.echo(line)
        drawn = line
    if sys.stdout.isatty():
        click.echo("\r\033[K", nl=False)
    assert last is not None
    return last


def telling(total: int) -> Callable[[Handled], None] | None:
    """What draws a bar of work on ``total`` jobs, and wipes it away at its end; None where nobody would see it."""
    if not sys.stderr.isatty():
        return None

    def tell(handled: Handled) -> None:
        progress = Progress(handled.total, total)
        is_over = progress.done >= total
        click.echo("\r\033[K" + ("" if is_over else bar(progress)), nl=False, err=True)

    return tell


def _line(found: JobView, name: str) -> str:
    told = "" if found.progress is None else f"{bar(found.progress)}  "
    return f"{told}{found.state}  {name}"

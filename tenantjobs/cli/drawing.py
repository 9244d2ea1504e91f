"""A line of stderr that is drawn again and again on a terminal while something goes on, and wiped at its end."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Draw = Callable[[str], None]


@contextmanager
def drawing() -> Iterator[Draw]:
    """What draws the line; it does nothing where nobody would see it."""
    if not sys.stderr.isatty():
        yield lambda _line: None
        return
    try:
        yield _draw
    finally:
        _draw("")


def _draw(line: str) -> None:
    width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be drawn over
    click.echo("\r\033[K" + line[:width], nl=False, err=True)

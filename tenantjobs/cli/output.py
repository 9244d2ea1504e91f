"""What commands print: plain text that fits a terminal, or JSON; errors on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, Any

import click
import msgspec

WIDEST = 36  # an id
ARGUMENTS = "tenantjobs.arguments"  # in `ctx.meta`: all that followed the name of the program


class Failure(click.ClickException):
    """Ends a command with ``error: ...`` on stderr and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.message}", file=file, err=file is None)


def as_json(value: object) -> None:
    """Print ``value`` as JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def table(rows: Iterable[Sequence[str]], *, indent: int = 2) -> None:
    """Print rows in columns. A cell that is wider than others may be pushes the rest of its row aside."""
    rows = list(rows)
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo((" " * indent + "  ".join(cells)).rstrip())


json_option = click.option("--json", "wants_json", is_flag=True, help="Print JSON.")

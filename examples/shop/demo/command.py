"""The command line of the demo."""

from __future__ import annotations

import os
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from rich.console import Console

from examples.shop.demo import progress, stream
from examples.shop.demo.broken import Broken
from examples.shop.demo.database import database
from examples.shop.demo.faults import FAULTS
from examples.shop.demo.proofs import prove
from examples.shop.demo.report import print_proofs, print_table
from examples.shop.demo.run import Run

WIDTH = 100  # of plain output


def main() -> None:
    """Exit with 0 if every proof holds, 1 if one does not, 3 if the run broke down, 130 when interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    options = parser().parse_args()
    try:
        sys.exit(0 if demonstrate(options, console(options)) else 1)
    except Broken as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Clean up and leave; whoever presses Ctrl-C twice does not get out of cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def demonstrate(options: Namespace, console: Console) -> bool:
    """Run, and show the table and the proofs; whether all of them hold."""
    begun = time.monotonic()
    requests = stream.read(options.requests)
    with (
        folder(options.keep) as place,
        database(os.environ.get("TENANTJOBS_DB_URL"), place, keep=options.keep is not None) as used,
        progress.view(console, len(requests), plain=options.plain) as view,
    ):
        view.said(f"{len(requests):,} requests for a shop on {used.kind}, with two worker processes")
        run = Run(folder=place, database=used, requests=requests, fault=options.plant, view=view)
        evidence = run.perform()
    proofs = prove(evidence)
    print_table(console, evidence)
    print_proofs(console, proofs)
    console.print(f"\n{time.monotonic() - begun:.1f} s on {used.kind}")
    return all(proof.holds for proof in proofs)


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m examples.shop", description="The shop at work, and the proofs.")
    parser.add_argument("--requests", type=positive, metavar="N", help="only the first N requests of the stream")
    parser.add_argument("--plant", choices=FAULTS, help="plant a fault that a proof has to find")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs, database and arrivals there")
    parser.add_argument("--plain", action="store_true", help="plain lines, as when the output is not a terminal")
    return parser


def positive(text: str) -> int:
    """A number from 1 on; argparse says so where it is not."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def console(options: Namespace) -> Console:
    """Colours and moving bars on a terminal that wants them; sets ``options.plain`` elsewhere."""
    terminal = Console()
    options.plain |= not terminal.is_terminal or terminal.is_dumb_terminal or "NO_COLOR" in os.environ
    if options.plain:
        return Console(width=WIDTH, no_color=True, force_terminal=False, highlight=False)
    return Console(highlight=False)


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with TemporaryDirectory(prefix="shop-") as temporary:
            yield Path(temporary)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise Broken(f"--keep {keep}: the folder is not empty")
        yield keep.resolve()

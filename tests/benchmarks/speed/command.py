"""The command: measure rows, print them, and write what they have come to."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.speed import machine, page, peers, results, table
from tests.benchmarks.speed.bench import Bench
from tests.benchmarks.speed.results import Result, result
from tests.benchmarks.speed.rows import Row, Sizes, Trial, trials

ROUNDS = 5
OUTPUT = Path("build/bench.json")
HEAD = ("", "ours", "peer", "ratio", "floor", "", "aim", "", "noise")
WIDTHS = (62, 20, 44, 8, 10, 6, 10, 6, 5)


def main(arguments: Sequence[str]) -> int:
    """1 if a floor is missed."""
    chosen = _options().parse_args(arguments)
    everything = Sizes(deep=chosen.deep_jobs, tenants=chosen.deep_tenants, held=chosen.held).scaled(chosen.scale)
    if chosen.write_docs and (chosen.rounds < ROUNDS or everything != Sizes()):
        sys.exit(f"--write-docs wants {ROUNDS} rounds at full size: what else is measured belongs on no page")
    selected = select(trials(everything), chosen.rows, deep=chosen.deep)
    peers.prepare()
    found: dict[str, Result] = {}
    OUTPUT.parent.mkdir(exist_ok=True)
    print(_line(HEAD))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speed-", dir=OUTPUT.parent)))
        bench = Bench(stack, folder)
        for trial in selected:
            rounds = list(trial.rounds(bench, chosen.rounds))
            for row in trial.rows:
                found[row.name] = result(row, rounds)
                print(_line(_cells(row, found[row.name])), flush=True)
            results.write(OUTPUT, found)  # at once, whatever becomes of the rest
        described = machine.describe(folder)
    print("\n" + "\n".join(f"{name:14}{value}" for name, value in described.items()))
    if chosen.write_docs:
        _write_page(described, found)
    return int(any(missed(trial.rows, found) for trial in selected))


def _options() -> argparse.ArgumentParser:
    sizes = Sizes()
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks speed", description=__doc__)
    options.add_argument("rows", nargs="*", metavar="ROW", help="a part of names of rows; all of them if none is named")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="how often each side is measured (%(default)s)")
    options.add_argument("--scale", type=float, default=1.0, help="of the jobs that are counted (%(default)s)")
    options.add_argument("--deep", action="store_true", help="with the rows that take long")
    options.add_argument("--deep-jobs", type=int, default=sizes.deep, help="that wait there (%(default)s)")
    options.add_argument("--deep-tenants", type=int, default=sizes.tenants, help="of so many (%(default)s)")
    options.add_argument("--held", type=float, default=sizes.held, help="seconds of the open transaction (%(default)s)")
    options.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md from this run")
    return options


def select(everything: Sequence[Trial], parts: Sequence[str], *, deep: bool) -> list[Trial]:
    """The trials with rows whose names contain one of these parts; of such a trial all rows."""
    offered = [trial for trial in everything if deep or not trial.deep]
    for part in parts:
        if not any(_named(trial, part) for trial in offered):
            names = "\n".join(f"  {row.name}" for trial in offered for row in trial.rows)
            sys.exit(f"no row has {part!r} in its name; the rows are\n{names}")
    return [trial for trial in offered if not parts or any(_named(trial, part) for part in parts)]


def _named(trial: Trial, part: str) -> bool:
    return any(part.lower() in row.name.lower() for row in trial.rows)


def missed(rows: Sequence[Row], found: Mapping[str, Result]) -> list[str]:
    """The names of those that are below their floor."""
    return [row.name for row in rows if table.verdict(row, found[row.name], row.floor) == table.MISSED]


def _cells(row: Row, found: Result) -> Sequence[str]:
    return (
        row.name,
        table.figure(found.ours, found.spread, row.unit),
        table.peer(row, found),
        table.ratio(found),
        table.bound(row, row.floor),
        table.verdict(row, found, row.floor),
        table.bound(row, row.aim),
        table.verdict(row, found, row.aim),
        f"{found.noise:.2f}" + (" under noise" if found.noisy else ""),
    )


def _line(cells: Sequence[str]) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _write_page(described: dict[str, str], found: Mapping[str, Result]) -> None:
    order = [row.name for trial in trials(Sizes()) for row in trial.rows]
    record = results.merged(results.read(page.RECORD), described, found, order)
    results.write(page.RECORD, record)
    page.PAGE.write_text(page.render(record), encoding="utf-8")

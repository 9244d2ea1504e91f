"""``docs/benchmarks.md``, from ``docs/benchmarks.json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.benchmarks.speed import table
from tests.benchmarks.speed.noise import NOISY
from tests.benchmarks.speed.results import Record
from tests.benchmarks.speed.rows import Row, Sizes, trials

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "benchmarks.md"
RECORD = DOCS / "benchmarks.json"

TITLE = """\
<!-- Made by `python -m tests.benchmarks speed --write-docs` from benchmarks.json: change tests/benchmarks/speed. -->
# How fast it is

Our database queue beside other queues that keep their jobs in a database, measured in one run on one machine. What
counts is the ratio within a row: the figures themselves move with the machine, and with whatever else it does.
"""
NOT_YET = """
**Nothing on this page has been measured yet**: the figures are to be made on a machine that does nothing else.
"""
HOW = f"""
## What is measured, and how

- **The same for both sides**: one machine, one PostgreSQL server, one version of Python, jobs that do nothing and have
  one argument, and as many of them at once in a worker process (the threads of ours, the batch of PgQueuer, whose jobs
  are coroutines). Medians of five rounds, in turn: ours, the peer, ours, the peer.
- **What is on**: durable commits (`fsync` and `synchronous_commit` of PostgreSQL; `synchronous` of SQLite as the row
  says), and on our side all that is on by default: fair claims, the tenant of each job (ten tenants in turn), leases
  with fencing, finished jobs kept for a day.
- **Acknowledgement**: ours and that of PgQueuer come after the job has run, many in one statement. Huey has none: a job
  that was taken is gone if its worker dies.
- **A rate** is that of jobs which note their own start in memory that all processes share, so that no queue measures
  itself. A drain is from the first start to the last; workers begin together, once all of them are there. An enqueue
  is over when it is committed.
- **±** is the spread: half the width of the middle half of the rounds.
- **Noise** is what other processes have used meanwhile, in processors. A row that was measured beside more than
  {NOISY:g} of them says so: its figures say little, its ratio a little more.
"""
RUN = """
## Run it

`make bench` measures all rows, after the other groups of `tests/benchmarks`, prints the table and writes
`build/bench.json`. It installs the peers into an environment of their own (`.venvs/peers`, pinned in `pyproject.toml`),
and makes a database on the PostgreSQL server of the tests, which it drops again. It takes about half an hour.

| command | what it measures |
|---|---|
| `python -m tests.benchmarks speed` | this table alone |
| `python -m tests.benchmarks speed bulk "idle latency"` | the rows whose names contain one of these |
| `python -m tests.benchmarks speed --rounds 1 --scale 0.1` | a first impression |
| `python -m tests.benchmarks speed --deep` | also what takes an hour; `--deep-jobs`, `--deep-tenants`, `--held` |
| `python -m tests.benchmarks speed --write-docs` | this page; rows not measured now stay if nothing else has changed |
"""


def render(record: Record) -> str:
    """The whole page."""
    rows = [row for trial in trials(Sizes()) for row in trial.rows]
    floored = [row for row in rows if row.floor or row.aim]
    others = [row for row in rows if not (row.floor or row.aim)]
    return "".join(
        [
            TITLE,
            "" if record.rows else NOT_YET,
            "\n## With a floor\n\n",
            _section(record, floored, ("floor", "aim", "comes to")),
            _missed(record, floored),
            "\n## Without one\n\n",
            _section(record, others, ()),
            HOW,
            _machine(record),
            RUN,
        ]
    )


def _section(record: Record, rows: Sequence[Row], more: Sequence[str]) -> str:
    head = ["", "ours", "peer", "ratio", *more, "how"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        bounds = [table.bound(row, row.floor), table.bound(row, row.aim), _verdict(record, row)]
        lines.append(_line([row.name, *_figures(record, row), *bounds[: len(more)], row.how]))
    return "".join(lines)


def _figures(record: Record, row: Row) -> list[str]:
    found = record.rows.get(row.name)
    if found is None:
        return ["not measured", row.peer_name or "", ""]
    noisy = f" (noise {found.noise:g})" if found.noisy else ""
    return [table.figure(found.ours, found.spread, row.unit) + noisy, table.peer(row, found), table.ratio(found)]


def _verdict(record: Record, row: Row) -> str:
    found = record.rows.get(row.name)
    floor, aim = table.verdict(row, found, row.floor), table.verdict(row, found, row.aim)
    if floor == table.MISSED:
        return "**below the floor**"
    elif aim == table.MET:
        return "the aim"
    elif floor == table.MET:
        return "the floor"
    else:
        return "below the aim" if aim == table.MISSED else ""


def _missed(record: Record, rows: Iterable[Row]) -> str:
    measured = [row for row in rows if row.name in record.rows]
    missed = [row.name for row in measured if table.verdict(row, record.rows[row.name], row.floor) == table.MISSED]
    if not measured:
        return ""
    if not missed:
        return "\nNo row that was measured is below its floor.\n"
    return "\nBelow the floor:\n\n" + "".join(f"- {name}\n" for name in missed)


def _machine(record: Record) -> str:
    if not record.machine:
        return ""
    lines = [_line([name, value]) for name, value in record.machine.items()]
    return "\n## Where it was measured\n\n" + _line(["", ""]) + _line(["---", "---"]) + "".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"

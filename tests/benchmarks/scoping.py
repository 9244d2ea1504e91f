"""What scoped models and installed sessions cost, beside bare SQLAlchemy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.benchmarks.lanes import Database, figures
from tests.benchmarks.measure import Row, median
from tests.services import fresh_postgres

#: What is measured, and how many calls of it are a turn.
TASKS = {"query": 50, "insert": 6, "insert_without_keys": 6, "change": 6, "delete": 6}
COMMITS = {"transaction": 30, "large_transaction": 6}
REFERENCES = {"insert_with_references": 6}

KINDS = ("bare", "bare", "by hand", "scoped", "installed", "scoped+installed")
QUERY_GOAL = 30.0
FLUSH_GOAL = 10.0


def scoping_cost() -> Iterator[Row]:
    """Medians over many turns of what is beside bare sessions in the same turn; a second bare one shows the noise.

    ``by hand`` is bare SQLAlchemy with the tenant in each WHERE: what keeping to the tenant costs whoever writes it.
    """
    yield from _rows("SQLite", lambda: nullcontext("sqlite://"), KINDS, TASKS)
    yield from _rows("SQLite", lambda: nullcontext("sqlite://"), ("bare", "bare", "scoped"), REFERENCES, goal=None)
    kinds = ("bare", "bare", "installed", "installed+job")
    yield from _rows("SQLite", lambda: nullcontext("sqlite://"), kinds, COMMITS, goal=None)
    try:
        with fresh_postgres():
            pass
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return
    yield from _rows("PostgreSQL", fresh_postgres, KINDS, TASKS)


def _rows(
    name: str, database: Database, kinds: tuple[str, ...], tasks: dict[str, int], goal: float | None = FLUSH_GOAL
) -> Iterator[Row]:
    for task, turns in figures(kinds, tasks, database).items():
        for index, kind in enumerate(kinds[1:], 1):
            label = f"{name}: {task.replace('_', ' ')}, {'bare again' if kind == 'bare' else kind}"
            ours = kind not in {"bare", "by hand"}
            more, more_spread = median([turn[index] - turn[0] for turn in turns])
            share, share_spread = median([(turn[index] / turn[0] - 1) * 100 for turn in turns])
            if task == "query":
                wanted = QUERY_GOAL if ours else None
                yield Row(name=label, value=more, unit="us", spread=more_spread, goal=wanted)
            else:
                wanted = goal if ours else None
                yield Row(name=label, value=share, unit="%", spread=share_spread, goal=wanted)
                if task == "transaction":
                    yield Row(name=label, value=more, unit="us", spread=more_spread)

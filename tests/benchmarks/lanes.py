"""Kinds of sessions side by side, each in a process of its own, measured in short turns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import msgspec

Figures = dict[str, list[list[float]]]
Database = Callable[[], AbstractContextManager[str]]

SETS = 3
TURNS = 10


class Lane:
    """A process that waits to be told what to measure."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def measure(self, task: str, calls: int) -> float:
        """The least CPU microseconds of ``calls`` runs: whatever else this machine does only adds to it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode((task, calls)) + b"\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def figures(kinds: Sequence[str], tasks: Mapping[str, int], database: Database) -> Figures:
    """The figures of all kinds for each task, turn for turn, in an order that changes.

    By several sets of processes: where one happens to lie in memory makes a difference of some percent, for its life.
    ``tasks`` says how many calls a turn has.
    """
    found: Figures = {task: [] for task in tasks}
    for _ in range(SETS):
        with ExitStack() as stack:
            lanes = [stack.enter_context(_lane(kind, stack.enter_context(database()))) for kind in kinds]
            for task, calls in tasks.items():
                for lane in lanes:
                    lane.measure(task, 5)  # what is compiled and cached at first
                for turn in range(TURNS):
                    taken = {index: lanes[index].measure(task, calls) for index in _order(len(lanes), turn)}
                    found[task].append([taken[index] for index in range(len(lanes))])
    return found


@contextmanager
def _lane(kind: str, url: str) -> Iterator[Lane]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.lane", kind, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    ) as process:
        try:
            yield Lane(process)
        finally:
            process.kill()


def _order(count: int, turn: int) -> list[int]:
    order = [(turn + index) % count for index in range(count)]
    return order if turn % 2 else order[::-1]

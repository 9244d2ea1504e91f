"""How a figure is taken: medians of several runs, with their spread, each beside what it is compared with."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


class Row(msgspec.Struct, kw_only=True):
    """One line of the table. ``goal`` is a bound from above unless ``more_is_better``.

    ``spread`` is how wide the middle half of the figures is, in their unit.
    """

    name: str
    value: float
    unit: str
    spread: float
    goal: float | None = None
    more_is_better: bool = False

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        good = self.value >= self.goal if self.more_is_better else self.value <= self.goal
        return "ok" if good else "MISSED"


def median(figures: list[float]) -> tuple[float, float]:
    """The median, and the spread."""
    if len(figures) == 1:
        return figures[0], 0.0
    low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
    return middle, high - low


def per_call(function: Callable[[], object], *, calls: int = 20_000, runs: int = 7) -> tuple[float, float]:
    """Median microseconds of one call, and the spread of the runs."""
    figures = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        figures.append((time.perf_counter() - start) / calls * 1e6)
    return median(figures)


def process_cpu(code: str, *, runs: int = 15) -> tuple[float, float]:
    """Median CPU milliseconds (user and system) of a whole interpreter that runs ``code``, as installed: compiled."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path("build/pycache").absolute())}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = []
    for _ in range(runs + 1):
        before = _children_cpu()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        figures.append((_children_cpu() - before) * 1e3)
    return median(figures[1:])  # the first run compiles


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

"""What else the machine did while something was measured."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

import psutil

NOISY = 0.2  # processors that others may use before a figure is said to be taken under noise
KERNEL = 2  # the parent of the kernel's own threads, which write what we write
SERVICE = ("checkpointer", "walwriter", "background writer", "autovacuum", "logger")  # of the server, for everybody


class Noise:
    """Begins now. Others are all but this process, what it has started, and what serves the run's ``databases``."""

    def __init__(self, databases: Collection[str]) -> None:
        self._databases = databases
        self._before = self._spent()

    def processors(self) -> float:
        """How many processors others have used since then, on average; what the host has withheld counts too."""
        (since, all_before, ours_before), (until, all_after, ours_after) = self._before, self._spent()
        foreign = (all_after - all_before) - (ours_after - ours_before)
        return max(0.0, foreign / (until - since))

    def _spent(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        busy = times.user + times.nice + times.system + getattr(times, "steal", 0.0)
        ours = 0.0
        parents: dict[int, int] = {}
        spent: dict[int, float] = {}
        serving = set()
        for process in psutil.process_iter():
            try:
                with process.oneshot():
                    parents[process.pid] = process.ppid()
                    used = process.cpu_times()
                    spent[process.pid] = used.user + used.system
                    if process.name() == "postgres" and self._serves(" ".join(process.cmdline())):
                        serving.add(process.pid)
            except psutil.Error:
                continue
        for pid, used_by in spent.items():
            line = _line(pid, parents)
            if os.getpid() in line or KERNEL in line or pid in serving:
                ours += used_by
        return time.monotonic(), busy, ours

    def _serves(self, title: str) -> bool:
        kinds = [f" {database} " for database in self._databases]
        return any(kind in title for kind in (*kinds, *SERVICE))


def _line(pid: int, parents: dict[int, int]) -> set[int]:
    """A process and all it comes from."""
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        pid = parents.get(pid, 0)
    return found

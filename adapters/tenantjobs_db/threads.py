"""Threads that a worker can walk away from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """Up to ``count`` daemon threads, started as they are needed: a job that hangs must not keep the process alive."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._started = 0
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def start(self, function: Callable[[], object]) -> None:
        """Run ``function``, which does not raise, on a free thread."""
        self._work.put(function)
        if self._started < self._count:
            self._started += 1
            threading.Thread(target=self._run, name=f"tenantjobs-job-{self._started}", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()

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
        self._idle = 0
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def start(self, function: Callable[[], object]) -> None:
        """Run ``function``, which does not raise, on a free thread; RuntimeError if the system gives none."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif self._started < self._count:
                threading.Thread(target=self._run, name=f"tenantjobs-job-{self._started + 1}", daemon=True).start()
                self._started += 1
        self._work.put(function)

    @property
    def idle(self) -> int:
        """How many threads wait for work."""
        return self._idle

    def _run(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                self._idle += 1

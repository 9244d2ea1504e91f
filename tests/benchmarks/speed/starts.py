"""When each job has started: written by the job itself into memory that all processes share.

Only the standard library is used, since the processes of the peers come here too.
"""

from __future__ import annotations

import itertools
import mmap
import time
from array import array
from collections.abc import Callable
from pathlib import Path

WORKERS = 16
GATE = 0  # the words before those of the jobs: a gate, and for each worker whether it is ready and what it has started
READY = 1
STARTED = READY + WORKERS
JOBS = STARTED + WORKERS
WORD = 8
MOMENT = 0.0002  # between two looks at a word
ROUGHLY = 1000  # jobs, by which a count may be wrong


class Starts:
    """The memory behind the file ``path``, as one worker or the process that measures sees it."""

    def __init__(self, path: str | Path, worker: int = 0) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._memory).cast("q")
        self._worker = worker
        self._count = itertools.count(1)

    @classmethod
    def create(cls, path: Path, jobs: int) -> Starts:
        """For that many jobs, none of which has started."""
        with open(path, "wb") as file:
            file.truncate((JOBS + jobs) * WORD)
        return cls(path)

    def record(self, number: int) -> None:
        """Say that the job starts now."""
        self._words[JOBS + number] = time.monotonic_ns()
        self._words[STARTED + self._worker] = next(self._count)

    def wait_at_the_gate(self) -> None:
        """Say that this worker is ready, and wait until all may begin."""
        self._words[READY + self._worker] = 1
        while not self._words[GATE]:
            time.sleep(MOMENT)

    def await_ready(self, workers: int, alive: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until that many workers are at the gate; ``alive`` raises if one of them is gone."""
        limit = time.monotonic() + seconds
        while not all(self._words[READY : READY + workers]):
            alive()
            if time.monotonic() > limit:
                raise TimeoutError("a worker does not become ready")
            time.sleep(0.005)

    def open_the_gate(self) -> None:
        """Let all workers begin at once."""
        self._words[GATE] = 1

    def wait_for(self, number: int, seconds: float = 30.0) -> int:
        """When the job has started, in nanoseconds; waits for it."""
        limit = time.monotonic() + seconds
        while not (at := self._words[JOBS + number]):
            if time.monotonic() > limit:
                raise TimeoutError(f"job {number} does not start")
            time.sleep(MOMENT)
        return at

    def wait_for_any(self, jobs: int, alive: Callable[[], object], seconds: float) -> list[int]:
        """When the first ``jobs`` of them have started, in order; waits for them."""
        # Threads of one worker may write what they have counted in another order: near the end jobs are looked at, or
        # after it where more are there, since to look at many takes a processor from those who work.
        enough = jobs + ROUGHLY if len(self._words) - JOBS > jobs + ROUGHLY else jobs - ROUGHLY
        limit = time.monotonic() + seconds
        while True:
            alive()
            if sum(self._words[STARTED : STARTED + WORKERS]) >= enough:
                starts = self._starts()
                if len(starts) >= jobs:
                    return starts[:jobs]
            if time.monotonic() > limit:
                raise TimeoutError(f"{len(self._starts()):,} of {jobs:,} jobs have started in {seconds:g} s")
            time.sleep(0.02)

    def _starts(self) -> list[int]:
        words = array("q")
        words.frombytes(self._memory[JOBS * WORD :])
        return sorted(at for at in words if at)


def rate(starts: list[int]) -> float:
    """Jobs a second, between the first start and the last."""
    return (len(starts) - 1) / (starts[-1] - starts[0]) * 1e9

"""When a worker has served long enough, and makes room for a fresh one."""

from __future__ import annotations

import random
import time

import msgspec

from tenantjobs_db import memory

MEMORY_LOOK = 1.0  # seconds between two looks at the memory
SPREAD = 0.1  # of the age: workers that were started together do not go together


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker may come to: ``max_age`` in seconds, ``max_memory`` (resident) in bytes; None for no end."""

    max_jobs: int | None = None
    max_age: float | None = None
    max_memory: int | None = None


class Recycling:
    """Counts what one worker does."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs = 0
        self._oldest = None if limits.max_age is None else limits.max_age * random.uniform(1 - SPREAD, 1)
        self._started = time.monotonic()
        self._looked = self._started

    @property
    def jobs_left(self) -> int | None:
        """How many jobs may still be started; None for any number."""
        return None if self._limits.max_jobs is None else max(0, self._limits.max_jobs - self._jobs)

    def started(self, jobs: int) -> None:
        self._jobs += jobs

    def due(self) -> str | None:
        """Why the worker is to be replaced now; None as long as it is not."""
        now = time.monotonic()
        if self.jobs_left == 0:
            return f"it has started {self._jobs} jobs (max_jobs)"
        if self._oldest is not None and now - self._started >= self._oldest:
            return f"it is {now - self._started:.0f} s old (max_age)"
        if self._limits.max_memory is not None and now - self._looked >= MEMORY_LOOK:
            self._looked = now
            if (resident := memory.resident()) > self._limits.max_memory:
                return f"it has {resident / 2**20:.0f} MiB of memory (max_memory)"
        return None

"""How far the claims of a worker may be ahead of its slots: as many jobs as will start within a moment."""

from __future__ import annotations

import time
from collections.abc import Sequence

MOMENT = 0.05  # seconds
MOST = 1000  # jobs: a third of them are claimed while the others run
SHORT = 0.0003  # seconds: less than it takes to change threads, where both of them want to go on
KNOWN_WELL = 20  # jobs: after so many, what was known before counts for half
RELUCTANCE = 5.0  # seconds without any of this, once it has gone wrong


class Pace:
    """Learns from jobs that have ended how soon ``slots`` of them make room for others."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._mean: float | None = None  # seconds that a job takes; None as long as nobody knows
        self._reluctant_until = 0.0

    @property
    def ahead(self) -> int:
        """Jobs that may be claimed beyond the free slots."""
        if self._mean is None or time.monotonic() < self._reluctant_until:
            return 0
        return min(MOST, int(self._slots * MOMENT / max(self._mean, 1e-6)))

    @property
    def is_short(self) -> bool:
        """Whether jobs are over sooner than several of them could be started; so they may be, until one has ended."""
        if self._mean is None:
            return time.monotonic() >= self._reluctant_until
        return self._mean < SHORT

    def learn(self, seconds: Sequence[float]) -> None:
        """So long have some jobs taken."""
        count = len(seconds)
        if not count:
            return
        latest = sum(seconds) / count
        weight = count / (count + KNOWN_WELL)
        self._mean = latest if self._mean is None else self._mean + (latest - self._mean) * weight

    def forget(self) -> None:
        """The jobs of now are not those of before: for a while, claim no more than can start at once."""
        self._mean = None
        self._reluctant_until = time.monotonic() + RELUCTANCE

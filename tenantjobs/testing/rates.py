"""Starts in the memory of this process, for the adapter ``test``; they count by the clock that tests move."""

from __future__ import annotations

import threading
from datetime import datetime

from tenantjobs import clock
from tenantjobs.rates import Start


class MemoryRates:
    """The contract of ``rates.Rates``, without a database."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._starts: dict[str, list[datetime]] = {}

    def start(self, wanted: Start) -> float:
        with self._turn:
            now = clock.now()
            starts = self._starts.setdefault(wanted.key, [])
            waits = [
                seconds - (now - starts[-count]).total_seconds()
                for count, seconds in ((wanted.to, wanted.seconds), (wanted.burst, wanted.burst_seconds))
                if len(starts) >= count
            ]
            wait = max(waits, default=0.0)
            if wait <= 0:
                self._starts[wanted.key] = [*starts, now][-wanted.to :]
            return max(0.0, wait)

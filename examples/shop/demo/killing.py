"""Workers that die at the worst moment: with jobs in their hands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle

from sqlalchemy import Engine, func, select

from examples.shop.demo.processes import Process
from tenantjobs_db.tables import CLAIMED, jobs, processes

SHARES = (0.1, 0.3, 0.5, 0.7)  # of the deliveries that have come to an end
PAUSE = 3.0  # seconds for the last victim's successor to be at work


class Killing:
    """Kills one worker after the other, each when a good part of the work is done."""

    def __init__(self, engine: Engine, workers: Sequence[Process], deliveries: int) -> None:
        self._engine = engine
        self._turns = cycle(workers)
        self._victim = next(self._turns)
        self._marks = [share * deliveries for share in SHARES]
        self._last = time.monotonic()

    def strike(self, settled: int) -> str | None:
        """Kill the next worker, and start another in its place, if it is time and it is at work; says so."""
        passed = [mark for mark in self._marks if mark <= settled]
        if not passed or time.monotonic() - self._last < PAUSE or not (held := self._held(self._victim)):
            return None
        victim, self._victim = self._victim, next(self._turns)
        victim.kill_and_restart()
        self._marks = self._marks[len(passed) :]
        self._last = time.monotonic()
        return f"{victim.name} killed with {held} jobs in its hands (SIGKILL), another one started"

    def _held(self, worker: Process) -> int:
        claimed = (
            select(func.count())
            .select_from(jobs.join(processes, jobs.c.claimed_by == processes.c.id))
            .where(jobs.c.state == CLAIMED, processes.c.pid == worker.pid)
        )
        with self._engine.connect() as connection:
            return connection.execute(claimed).scalar_one()

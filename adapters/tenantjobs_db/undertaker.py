"""Brings the jobs of dead processes back, at once for those that were seen to die."""

from __future__ import annotations

import threading
from collections import deque

from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import Database
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.processes import Processes
from tenantjobs_db.selection import Selection


class Undertaker:
    """Its work is done by a routine: the supervisor itself never waits for the database."""

    def __init__(self, database: Database, processes: Processes, keeping: Keeping) -> None:
        self._consumer = Consumer(database, Selection(["*"]), keep_finished=True)
        self._processes = processes
        self._keeping = keeping
        self._dead: deque[tuple[str, bool]] = deque()
        self._turn = threading.Lock()

    def report(self, process: str, *, charged: bool) -> None:
        """The process is dead. ``charged``: its jobs may have been the cause."""
        self._dead.append((process, charged))

    def bury(self) -> None:
        """Give back what the dead had claimed. If the database raises, the rest waits for the next time."""
        with self._turn:
            buried = bool(self._dead)
            while self._dead:
                process, charged = self._dead[0]
                if not charged:
                    self._consumer.give_back_unknown(process, ())
                self._processes.leave(process)
                self._dead.popleft()
            if buried:
                self._keeping.reap()

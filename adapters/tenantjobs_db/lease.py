"""This process's hold on its jobs: registered, kept alive, and noticed when it is gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tenantjobs_db.processes import Processes

logger = logging.getLogger("tenantjobs.db")


class Lease:
    """The id under which this process claims. What was claimed under a lost one is lost.

    ``chosen`` is the first id; another one is as good. ``on_lost`` is called when it is lost, and that is the end;
    without it, a lost one is replaced by another.
    """

    def __init__(
        self,
        processes: Processes,
        seconds: float,
        kind: str = "worker",
        *,
        chosen: str | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> None:
        self._processes = processes
        self._seconds = seconds
        self._kind = kind
        self._chosen = chosen
        self._renewing = threading.Lock()
        self._renewed = 0.0
        self._ended = False
        self.on_lost = on_lost
        self.is_lost = False
        self.process = ""

    def begin(self) -> None:
        """Register; from now on there is a name to claim under."""
        self._renewed = time.monotonic()
        self.process = self._processes.register(self._kind, self._chosen)

    @property
    def is_fresh(self) -> bool:
        """True if the database has heard of us within the lease."""
        return bool(self.process) and not self.is_lost and not self._stale(self._seconds)

    def holds(self, process: str) -> bool:
        """True while what was claimed under ``process`` is ours.

        A process that was silent for longer than its lease, because it was stopped or starved, asks the database
        first: others may have its jobs, and no answer counts as no. It only reads: on SQLite, the job that asks may
        itself hold the lock that a renewal would wait for.
        """
        if process != self.process or self.is_lost or not self._stale(self._seconds):
            return process == self.process and not self.is_lost
        try:
            return self._processes.known(process)
        except Exception as error:
            logger.error("process %s cannot learn whether its jobs are still its own: %s", process, error)
            return False

    def renew(self) -> None:
        """Tell the database that we live; if it had given us up, take a new id or tell who is to be told."""
        with self._renewing:
            asked = time.monotonic()
            if not self._ended and not self.is_lost and not self._processes.beat(self.process):
                self._lose()
            self._renewed = asked

    def renew_if_stale(self, seconds: float | None = None) -> None:
        """Renew if the last time is longer ago than ``seconds``, or than the lease itself.

        Asked before every claim: a process that was stopped or starved must not claim under a name that is gone.
        """
        if self._stale(self._seconds if seconds is None else seconds):
            self.renew()

    def end(self) -> None:
        """Sign off; a heartbeat that comes late does not bring the process back."""
        with self._renewing:
            self._ended = True
            self._processes.leave(self.process)

    def _lose(self) -> None:
        told = "process %s was silent for longer than its lease of %g s and has lost its jobs to others; it "
        if self.on_lost is not None:
            self.is_lost = True
            logger.error(told + "stops", self.process, self._seconds)
            self.on_lost()
        else:
            lost, self.process = self.process, self._processes.register(self._kind)
            logger.error(told + "goes on as %s", lost, self._seconds, self.process)

    def _stale(self, seconds: float) -> bool:
        return time.monotonic() - self._renewed > seconds

    def __str__(self) -> str:
        return self.process

"""What wakes a worker that has nothing to do before it looks at the queue again by itself."""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection

from tenantjobs_db.backoff import Backoff

logger = logging.getLogger("tenantjobs.db")


class Alarm:
    """Rings when there may be work. This one never does: the worker looks every ``polling_interval``.

    An alarm only saves time. One that does not ring, or rings in vain, costs no job.
    """

    def start(self) -> None:
        """From now on it may be set."""

    def stop(self) -> None:
        """End; ``join`` waits for that."""

    def join(self, timeout: float) -> None: ...

    def rest(self) -> None:
        """The worker has room, and found nothing: it wants to hear of jobs."""

    def stir(self) -> None:
        """The worker has found jobs, or has no room for any."""

    def called(self) -> Collection[str]:
        """The queues for which it has rung lately, where it knows them: each is told once."""
        return ()


class WatchfulAlarm(Alarm):
    """One with a thread that keeps watch while the worker rests; ``ring`` is called when there may be work."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self.ring = ring
        self.stopped = False
        self.resting = False
        self.since = 0.0  # when it came to rest, or stirred
        self._thread = threading.Thread(target=self._run, name="tenantjobs-alarm", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopped = True
        self.nudge()

    def join(self, timeout: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def rest(self) -> None:
        if not self.resting:
            self.since = time.monotonic()
            self.resting = True
            self.nudge()

    def stir(self) -> None:
        if self.resting:
            self.since = time.monotonic()
            self.resting = False

    @abstractmethod
    def nudge(self) -> None:
        """Have the thread look at ``resting`` and ``stopped``."""

    @abstractmethod
    def pause(self, seconds: float) -> None:
        """Wait on the thread, no longer than until it is stopped."""

    @abstractmethod
    def watch(self, backoff: Backoff) -> None:
        """Keep watch until it is stopped; ``backoff`` is to be reset as soon as that works."""

    def end(self) -> None:
        """Nobody keeps watch any more."""

    def _run(self) -> None:
        try:
            self._keep_watch()
        finally:
            self.end()

    def _keep_watch(self) -> None:
        backoff = Backoff()
        while not self.stopped:
            try:
                self.watch(backoff)
                return
            except Exception as error:
                seconds = backoff.next()
                logger.info("nothing wakes the worker, tried again in %.1f s: it polls until then: %s", seconds, error)
            self.ring()  # what was missed is looked for
            self.pause(seconds)

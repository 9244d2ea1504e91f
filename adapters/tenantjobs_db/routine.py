"""Something that a worker does again and again beside its jobs."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from tenantjobs_db.backoff import Backoff

logger = logging.getLogger("tenantjobs.db")


class Routine:
    """Calls ``action`` every ``interval`` seconds on a thread of its own; an error is logged, and it goes on."""

    def __init__(self, name: str, interval: float, action: Callable[[], object]) -> None:
        self._name = name
        self._interval = interval
        self._action = action
        self._stopped = False
        self._rung = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tenantjobs-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; ``join`` waits for that."""
        self._stopped = True
        self.wake()

    def wake(self) -> None:
        """Have it act at once, and not only when its time has come."""
        self._rung.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        # Never more eager than when all is well, nor than an outage deserves.
        backoff = Backoff(longest=max(self._interval, 5.0))
        # Spread a little, so that the workers of one deployment do not knock all at once.
        pause = random.uniform(0, min(self._interval, 1.0))
        while True:
            self._rung.wait(pause)
            self._rung.clear()
            if self._stopped:
                return
            try:
                self._action()
            except Exception as error:
                pause = backoff.next()
                logger.warning("%s failed, and is tried again in %.1f s: %s", self._name, pause, error)
            else:
                backoff.reset()
                pause = self._interval * random.uniform(0.9, 1.0)

"""The alarm of SQLite: a worker that rests asks often whether anybody has written to the file, which is cheap."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

from tenantjobs_db.alarm import WatchfulAlarm
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.database import Database

SOON = 0.002  # seconds between two looks, shortly after there was something
LATER = 0.005  # and when nothing happens
SHORTLY = 0.5


class Watching(WatchfulAlarm):
    """Rings when the file has changed."""

    def __init__(self, database: Database, ring: Callable[[], object]) -> None:
        super().__init__(ring)
        self._database = database
        self._nudged = threading.Event()
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        super().stop()

    def stir(self) -> None:
        self._nudged.clear()
        super().stir()

    def nudge(self) -> None:
        self._nudged.set()

    def pause(self, seconds: float) -> None:
        self._ended.wait(seconds)

    def watch(self, backoff: Backoff) -> None:
        with closing(self._database.detached()) as connection:
            version, changed = None, 0.0
            while not self.stopped:
                self._nudged.wait()
                found = connection.execute("PRAGMA data_version").fetchone()
                if found != version:
                    version, changed = found, time.monotonic()
                    self.ring()
                backoff.reset()
                time.sleep(SOON if time.monotonic() - max(changed, self.since) < SHORTLY else LATER)

"""The alarm of PostgreSQL: the worker is called by whoever has jobs for it, see ``calling``.

A worker is asleep as soon as it rests for a moment, and awake when it has not rested for a while. In between it may run
one job after another, and hear of each at once; but while it is busy nobody has to call it.
"""

from __future__ import annotations

import logging
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from typing import Any

from tenantjobs_db.alarm import WatchfulAlarm
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.calling import CHANNEL, lock_of, place_of
from tenantjobs_db.database import Database
from tenantjobs_db.selection import matches

logger = logging.getLogger("tenantjobs.db")

LULL = 0.003  # seconds of rest after which a worker is asleep; one that finds a job every moment need not be called
AWAKE = 0.2  # seconds without rest after which it is awake
AGAIN = 0.05  # seconds from falling asleep to another look, for those who saw us awake and had not committed
SPREAD = 0.02  # seconds that calls may wait, where others were always faster to take the job
READERS = ("psycopg", "psycopg2")  # drivers that can be asked what was heard without asking the server


class Unheard(Exception):
    """Nobody can be called on such a connection."""


class Listening(WatchfulAlarm):
    """Falls asleep and wakes up on a connection of its own, which is made again when it breaks."""

    def __init__(self, database: Database, queues: Sequence[str], ring: Callable[[], object]) -> None:
        super().__init__(ring)
        self._database = database
        self._queues = tuple(queues)
        self._asleep = False
        self._look_at: float | None = None
        self._is_called = False
        self._called: deque[str] = deque()
        self._vain = 0  # calls in a row that others have answered

    def start(self) -> None:
        self._nudged, self._nudge = socket.socketpair()
        self._nudged.setblocking(False)
        self._nudge.setblocking(False)
        self._ears = selectors.DefaultSelector()
        self._ears.register(self._nudged, selectors.EVENT_READ)
        super().start()

    def rest(self) -> None:
        if self._is_called:
            self._is_called = False
            self._vain += 1
        super().rest()

    def stir(self) -> None:
        self._is_called = False
        self._vain = 0
        super().stir()

    def called(self) -> Collection[str]:
        called = {self._called.popleft() for _ in range(len(self._called))}
        return () if self._vain else called  # whoever came in vain before had better ask first

    def nudge(self) -> None:
        if self.stopped or not self._asleep:
            with suppress(OSError):  # it is nudged enough, or has ended
                self._nudge.send(b"\0")

    def pause(self, seconds: float) -> None:
        self._asleep = True  # not to be nudged
        self._wait(seconds)
        self._asleep = False

    def watch(self, backoff: Backoff) -> None:
        self._asleep, self._look_at = False, None
        try:
            line = Line(self._database, self._queues)
        except Unheard as why:
            logger.info("the worker is not woken by NOTIFY, and polls: %s", why)
            return
        with closing(line):
            self._ears.register(line, selectors.EVENT_READ)
            try:
                while not self.stopped:
                    self._turn(line)
                    backoff.reset()
            finally:
                self._ears.unregister(line)

    def end(self) -> None:
        for each in (self._ears, self._nudged, self._nudge):
            each.close()

    def _turn(self, line: Line) -> None:
        resting, so_long = self.resting, time.monotonic() - self.since
        if resting and not self._asleep and so_long >= LULL:
            line.listen()
            self._asleep = True
            self._look_at = time.monotonic() + AGAIN
            self.ring()  # asleep before the last look: whoever comes later calls
        elif not resting and self._asleep and so_long >= AWAKE:
            line.forget()
            self._asleep, self._look_at = False, None
        self._wait(self._patience(resting, so_long))
        if self._asleep and (called := list(filter(self._is_ours, line.heard()))):
            self._called.extend(called)
            self._look(time.monotonic() + self._spread())
        if self._look_at is not None and time.monotonic() >= self._look_at:
            self._look_at = None
            self.ring()

    def _patience(self, resting: bool, so_long: float) -> float | None:
        """How long there is nothing to do unless we are nudged or called."""
        if not self._asleep:
            return max(0.0, LULL - so_long) if resting else None
        # That the worker stirs is not told us, but found out in time.
        return AWAKE if self._look_at is None else max(0.0, self._look_at - time.monotonic())

    def _look(self, at: float) -> None:
        self._look_at = at if self._look_at is None else min(at, self._look_at)
        self._is_called = True

    def _spread(self) -> float:
        """Of many who are called for one job, those who came in vain before leave it to the others."""
        return random.uniform(0, min(SPREAD, 0.001 * 2 ** min(self._vain, 10))) if self._vain else 0.0

    def _is_ours(self, queue: str) -> bool:
        return any(matches(pattern, queue) for pattern in self._queues)

    def _wait(self, seconds: float | None) -> None:
        self._ears.select(seconds)
        with suppress(BlockingIOError):
            self._nudged.recv(4096)


class Line:
    """A connection that listens, or does not listen at the moment. ``Unheard`` if that is no use on it."""

    def __init__(self, database: Database, queues: Sequence[str]) -> None:
        self._driver = driver = database.engine.dialect.driver
        if driver not in READERS:
            raise Unheard(f"the driver {driver} cannot wait for a notification, as {' and '.join(READERS)} can")
        self._connection: Any = database.detached()
        try:
            self._connection.autocommit = True
            if self._asked("SELECT pg_backend_pid()") != self._connection.info.backend_pid:
                raise Unheard("between it and the server is a pooler, which gives one connection to many")
            self._channel = self._asked(f"SELECT {CHANNEL}")
        except BaseException:
            self._connection.close()
            raise
        # Kept: psycopg2 does not say it any more of a connection that has broken, which is still to be taken out then.
        self._descriptor: int = self._connection.fileno()
        self._places = sorted(set(map(place_of, queues)))
        self._heard: list[str] = []
        if driver == "psycopg":
            self._connection.add_notify_handler(lambda notify: self._heard.append(notify.payload))

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        self._connection.close()

    def listen(self) -> None:
        """Be asleep: whoever has jobs for us calls from now on."""
        self._execute(f'LISTEN "{self._channel}"')
        places = "unnest(CAST(%s AS text[])) AS place"
        self._execute(f"SELECT pg_advisory_lock_shared({lock_of('place')}) FROM {places}", self._places)

    def forget(self) -> None:
        """Be awake."""
        self._execute("SELECT pg_advisory_unlock_all()")
        self._execute(f'UNLISTEN "{self._channel}"')

    def heard(self) -> list[str]:
        """The queues for which we were called; an error if the server is gone."""
        self._read()
        heard, self._heard = self._heard, []
        return heard

    def _read(self) -> None:
        if self._driver == "psycopg":
            self._connection.pgconn.consume_input()
            while (notify := self._connection.pgconn.notifies()) is not None:
                self._heard.append(notify.extra.decode())
        else:
            self._connection.poll()
            self._heard += [notify.payload for notify in self._connection.notifies]
            del self._connection.notifies[:]

    def _execute(self, statement: str, *parameters: object) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement, parameters)

    def _asked(self, statement: str) -> Any:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

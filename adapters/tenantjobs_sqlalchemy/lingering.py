"""Jobs that wait too long in a session which only reads, and which somebody has probably forgotten: reported once.

A session that wrote is reported when it is closed. This one loses nothing, but its jobs may wait for hours.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from heapq import heappop, heappush
from weakref import WeakKeyDictionary, ref

import msgspec
from sqlalchemy.orm import Session

from tenantjobs.transaction import Held
from tenantjobs_sqlalchemy.levels import Level, Root, logger

WARN_AFTER = 30.0  # seconds


def watch(session: Session, level: Level, root: Root) -> None:
    """The first job of this transaction begins to wait."""
    made_by = next((kind for kind in type(session).__mro__ if kind in limits), None)
    seconds = WARN_AFTER if made_by is None else limits[made_by]
    if seconds is not None:
        _watch.add(Watched(time.monotonic() + seconds, seconds, ref(level), ref(root), _place()))


class Watched(msgspec.Struct, frozen=True):
    """A transaction with jobs, until when it may keep them unnoticed, and where the first of them was enqueued."""

    due: float
    seconds: float
    level: ref[Level]
    root: ref[Root]
    place: str

    def jobs(self) -> Sequence[Held]:
        """Those that wait still, unless the transaction wrote by now."""
        level, root = self.level(), self.root()
        if level is None or root is None or level.wrote or root.wrote:
            return []
        return [job for job in root.waiting or level.waiting if not job.cancelled]


class Watch:
    """One thread for all sessions of the process, and only while some have jobs."""

    def __init__(self) -> None:
        self._watched: list[tuple[float, int, Watched]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, watched: Watched) -> None:
        with self._changed:
            self._count += 1
            heappush(self._watched, (watched.due, self._count, watched))
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tenantjobs-lingering", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (watched := self._next()) is not None:
            if jobs := watched.jobs():
                _report(jobs, watched)

    def _next(self) -> Watched | None:
        """The next one whose time has come; None once there is nothing to watch."""
        with self._changed:
            while self._watched:
                due, _, watched = self._watched[0]
                left = due - time.monotonic()
                if left <= 0:
                    heappop(self._watched)
                    return watched
                self._changed.wait(left)
            self._thread = None
            return None


def _report(jobs: Sequence[Held], watched: Watched) -> None:
    first, others = jobs[0], f", and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    logger.warning(
        "job %s id=%s tenant=%s, enqueued at %s%s, has waited for %g s in a session that only reads and is still open: "
        "it leaves when the session is committed or closed",
        first.name,
        first.job_id,
        first.tenant_id,
        watched.place,
        others,
        watched.seconds,
    )


def _place() -> str:
    """The line of the application that enqueues."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0].startswith("tenantjobs"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _renew() -> None:
    """A forked child has neither the thread nor the sessions that it watched."""
    global _watch
    _watch = Watch()


limits: WeakKeyDictionary[type[Session], float | None] = WeakKeyDictionary()
_watch = Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

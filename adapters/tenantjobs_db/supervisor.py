"""The supervisor: starts the processes of a plan, replaces those that die, and stops them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from tenantjobs import lifecycle, signals
from tenantjobs_db import health
from tenantjobs_db.assignment import name_of
from tenantjobs_db.attendance import Attendance
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.child import Child
from tenantjobs_db.health import LIVE, Health
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.lease import Lease
from tenantjobs_db.plan import Plan, Post
from tenantjobs_db.routine import Routine
from tenantjobs_db.undertaker import Undertaker

logger = logging.getLogger("tenantjobs.db")

LOOK = 0.5  # seconds between two looks at the processes; a death wakes us before
BURYING = 0.2
GRACE = 5.0  # seconds beyond the shutdown timeout until a process is told to end now, and as many until it is killed
STABLE = 10.0  # seconds after which the death of a process says nothing about its next life


class Place:
    """One process of the plan: who fills it, and when the next one may."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.child: Child | None = None
        self._backoff = Backoff(shortest=0.5, longest=30.0)
        self._not_before = 0.0

    @property
    def is_due(self) -> bool:
        """True if somebody is to be started now."""
        return self.child is None and time.monotonic() >= self._not_before

    def is_free(self, lived: float) -> float:
        """Nobody fills it any more, after ``lived`` seconds; in how many seconds somebody is started."""
        self.child = None
        if lived >= STABLE:
            self._backoff.reset()
            return 0.0
        pause = self._backoff.next()
        self._not_before = time.monotonic() + pause
        return pause


class Supervisor:
    """Runs until it is stopped. ``command`` starts a process, and takes its assignment as the last argument."""

    def __init__(
        self,
        plan: Plan,
        command: Sequence[str],
        lease: Lease,
        keeping: Keeping,
        undertaker: Undertaker,
        attendance: Attendance,
        *,
        beat: float,
        shutdown_timeout: float,
        address: tuple[str, int] | None,
    ) -> None:
        self._places = [Place(post) for post in plan.posts()]
        self._leaving: list[Child] = []
        self._command = command
        self._lease = lease
        self._undertaker = undertaker
        self._attendance = attendance
        self._shutdown_timeout = shutdown_timeout
        self._address = address
        self._turned = time.monotonic()
        self._routines = [
            Routine("heartbeat", beat, lease.renew),
            Routine("burying", BURYING, undertaker.bury),
            Routine("reaping", beat, keeping.reap),
        ]
        self._started = 0
        self._stops = 0
        self._quiet = False
        self._code = 0
        # SimpleQueue.put may be called in a signal handler, which Event.set may not.
        self._woken: SimpleQueue[None] = SimpleQueue()

    def run(self) -> int:
        """Supervise. 0 if all processes have ended well once they were asked to."""
        self._lease.begin()
        logger.info("supervisor %s starts %d processes", self._lease, len(self._places))
        woken = signal.signal(signal.SIGCHLD, lambda *_: self._woken.put(None))
        process = lifecycle.Process(kind="supervisor", id=self._lease.process)
        try:
            with signals.obeyed(self), health.served(self._address, self.health):
                for routine in self._routines:
                    routine.start()
                lifecycle.run("start", process)
                self._supervise()
                lifecycle.run("stop", process)
                self._stop_all()
        finally:
            signal.signal(signal.SIGCHLD, woken)
            self._kill_all()
        self._leave()
        lifecycle.run("exit", process)
        logger.info("supervisor %s has stopped", self._lease)
        return self._code

    def stop(self) -> None:
        """Let all processes finish what runs, and end; asked a second time: let them end now."""
        self._stops += 1
        self._woken.put(None)

    def halt(self) -> None:
        self._stops += 2
        self._woken.put(None)

    def quiet(self) -> None:
        """Let no worker claim any more; all processes stay until they are stopped."""
        self._quiet = True
        self._woken.put(None)

    def health(self) -> Health:
        """How the supervisor is, by its own loop, and its processes are, by their heartbeats."""
        live = time.monotonic() - self._turned < LIVE
        reason = self._missing()
        return Health(live=live, ready=live and reason is None, reason=reason)

    def _missing(self) -> str | None:
        """Why the work is not done as it is planned."""
        if self._stops or self._quiet:
            return "it stops" if self._stops else "it is quiet"
        try:
            alive = {view.id for view in self._attendance.processes() if view.alive}
        except Exception as error:
            return f"the database does not answer: {error}"
        children = [place.child for place in self._places]
        up = sum(1 for child in children if child is not None and child.process in alive)
        return None if up == len(children) else f"{up} of {len(children)} processes are at work"

    def _supervise(self) -> None:
        quiet = False
        while not self._stops:
            self._turned = time.monotonic()
            self._look()
            if self._quiet and not quiet:
                quiet = True
                logger.info("supervisor %s: no more jobs are claimed", self._lease)
                self._tell(signals.QUIET)
            self._wait(LOOK)

    def _look(self) -> None:
        """Replace who has gone, and who wants to go."""
        self._leaving = [child for child in self._leaving if not self._has_ended(child)]
        for place in self._places:
            child = place.child
            if child is not None and child.wants_replacement():
                self._leaving.append(child)
                place.child = None
            elif child is not None and self._has_ended(child):
                logger.warning("another %s is started in %.1f s", place.post.kind, place.is_free(child.age))
            if place.is_due:
                self._start(place)

    def _start(self, place: Place) -> None:
        self._started += 1
        process = name_of(self._lease.process, self._started)
        try:
            child = Child(self._command, place.post, process, shutdown_timeout=self._shutdown_timeout)
        except OSError as error:  # the system gives no more processes
            logger.error("a %s cannot be started, tried again in %.1f s: %s", place.post.kind, place.is_free(0), error)
            return
        place.child = child
        logger.info("started %s as %s", child, child.process)
        if self._quiet and signals.QUIET is not None:
            child.tell(signals.QUIET)

    def _has_ended(self, child: Child) -> bool:
        code = child.ended()
        if code is None:
            return False
        stopping = self._stops > 0
        if code:
            self._undertaker.report(child.process, charged=not stopping)
            self._code = self._code or (1 if stopping else 0)
        level = logging.INFO if code == 0 else logging.ERROR
        logger.log(level, "%s has ended: %s", child, _ending(code))
        return True

    def _stop_all(self) -> None:
        """First by asking, then by asking for less, in the end by force."""
        logger.info("supervisor %s stops", self._lease)
        self._tell(signal.SIGTERM)
        self._await_all(self._shutdown_timeout + GRACE, stops=2)
        if self._living():
            self._tell(signals.HALT)
            self._await_all(GRACE, stops=4)

    def _await_all(self, seconds: float, *, stops: int) -> None:
        """Until all have ended, the time is over, or we are asked so many times."""
        until = time.monotonic() + seconds
        while self._living() and self._stops < stops and (left := until - time.monotonic()) > 0:
            self._wait(min(left, LOOK))

    def _living(self) -> list[Child]:
        """Those that have not ended; the end of the others is noted."""
        for place in self._places:
            if place.child is not None and self._has_ended(place.child):
                place.child = None
        self._leaving = [child for child in self._leaving if not self._has_ended(child)]
        return [*self._leaving, *(place.child for place in self._places if place.child is not None)]

    def _tell(self, number: signal.Signals | None) -> None:
        for child in self._living():
            if number is not None:
                child.tell(number)

    def _kill_all(self) -> None:
        """However we got here: none is left alone."""
        self._stops += 1
        for child in self._living():
            logger.error("%s does not end, and is killed", child)
            child.kill()
        while self._living():
            self._wait(LOOK)

    def _leave(self) -> None:
        for routine in self._routines:
            routine.stop()
        for routine in self._routines:
            routine.join(1.0)
        try:
            self._undertaker.bury()
            self._lease.end()
        except Exception as error:
            logger.warning("supervisor %s could not sign off: %s", self._lease, error)

    def _wait(self, seconds: float) -> None:
        with suppress(Empty):
            self._woken.get(timeout=seconds)


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

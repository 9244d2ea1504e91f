"""A worker process: claims what it can start, runs it, and settles it together with the next claim."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from tenantjobs.adapter import WorkOptions
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.batches import DatabaseBatches
from tenantjobs_db.completing import Completing
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import Database
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.exchanging import PASSING, Exchanging
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.lease import Lease
from tenantjobs_db.marking import Marking
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.releasing import INTERVAL as RELEASING
from tenantjobs_db.routine import Routine
from tenantjobs_db.selection import Selection
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settlement import Claimed, GiveBack
from tenantjobs_db.slots import Slots
from tenantjobs_db.telling import INTERVAL, Telling

logger = logging.getLogger("tenantjobs.db")

LAST_WORDS = 3.0  # seconds that a stopping worker spends on a database that does not answer


class Worker:
    """Serves queues until it is stopped, or until nothing is left to do."""

    def __init__(
        self,
        database: Database,
        settings: DatabaseSettings,
        options: WorkOptions,
        *,
        completing: Completing | None = None,
        inbox: DatabaseInbox | None = None,
        batches: DatabaseBatches | None = None,
    ) -> None:
        processes = Processes(database, lease=settings.lease, max_deaths=settings.max_deaths)
        consumer = Consumer(database, Selection(options.queues), keep_finished=settings.keeps_finished)
        self._options = options
        self._completing = completing
        self._marking = Marking(database)
        self._telling = Telling(database)
        self._queue = Queue(database)
        self._lease = Lease(processes, settings.lease)
        self._exchanging = Exchanging(consumer, self._lease)
        self._slots = Slots(options.threads, self._delivery)
        keeping = Keeping(database, processes, self._lease, settings, inbox, batches)
        self._routines = self._planned(keeping, settings)
        self._stops = 0
        self.hanging: Sequence[Claimed] = ()

    def run(self) -> int:
        """Work. 0 if every job that was started has ended and is settled.

        1 if some were given back while they ran (``hanging``), or if the database could not be told of a verdict.
        """
        self._lease.begin()
        queues = ", ".join(self._options.queues)
        logger.info("worker %s serves %s, %d jobs at a time", self._lease, queues, self._options.threads)
        with self._stopped_by_signals():
            for routine in self._routines:
                routine.start()
            try:
                self._work()
            finally:
                self._wind_down()
        return 1 if self.hanging or not self._exchanging.settled else 0

    def stop(self) -> None:
        """Claim no more, and end once what runs has ended; asked a second time: give back what runs, and end.

        May be called by any thread and by a signal handler.
        """
        self._stops += 1
        self._slots.wake()

    def wake(self) -> None:
        """There is work: do not wait for the next look."""
        self._slots.wake()

    def _stopping(self) -> bool:
        return self._stops > 0

    def _work(self) -> None:
        backoff = Backoff()
        while not self._stopping():
            try:
                idle = self._turn()
            except Exception as error:
                pause = backoff.next()
                unexpected = not isinstance(error, PASSING)
                logger.warning("the queue did not answer, tried again in %.1f s: %s", pause, error, exc_info=unexpected)
                self._gather(pause)
            else:
                backoff.reset()
                if idle and self._options.drain:
                    return
                self._exchanging.keep(self._slots.results(self._options.polling_interval))

    def _turn(self) -> bool:
        """One exchange. True if there was nothing at all to do."""
        idle = self._exchanging.settled and not self._slots.running
        if self._options.drain and self._queue.promote():
            idle = False
        free = self._slots.free
        if not free and self._exchanging.settled:
            return False
        claimed = self._exchanging.exchange(free, self._slots.running)
        for claim in claimed:
            self._start(claim)
        return idle and not claimed

    def _start(self, claim: Claimed) -> None:
        try:
            self._slots.start(claim)
        except RuntimeError as error:  # the system gives no more threads
            logger.error("%s could not be started and is given back: %s", claim, error)
            self._exchanging.keep([GiveBack(claim)])

    def _gather(self, seconds: float) -> None:
        """Spend some time taking in results, without asking the database."""
        until = time.monotonic() + seconds
        while not self._stopping() and (left := until - time.monotonic()) > 0:
            self._exchanging.keep(self._slots.results(left))

    def _wind_down(self) -> None:
        """Finish what runs, within the time there is; give the rest back, and leave."""
        logger.info("worker %s stops, and waits for the %d jobs that run", self._lease, len(self._slots.running))
        until = time.monotonic() + self._options.shutdown_timeout
        while self._slots.running and self._stops < 2 and (left := until - time.monotonic()) > 0:
            self._exchanging.keep(self._slots.results(left))
            self._settle()
        self.hanging = self._slots.running
        for claim in self.hanging:
            logger.warning("%s still ran when the worker had to stop: given back", claim)
        self._exchanging.keep(self._slots.abandon())
        self._say_goodbye()
        for routine in self._routines:
            routine.stop()
        for routine in self._routines:
            routine.join(1.0)
        logger.info("worker %s has stopped", self._lease)

    def _settle(self) -> bool:
        try:
            self._exchanging.exchange(0, self._slots.running)
        except Exception as error:
            logger.warning("the database did not answer: %s", error)
            return False
        return True

    def _say_goodbye(self) -> None:
        """Write the last verdicts; if that cannot be done, the lease runs out and others take over."""
        until = time.monotonic() + LAST_WORDS
        backoff = Backoff(longest=0.5)
        while not self._settle():
            if time.monotonic() > until:
                logger.error("worker %s leaves without the answer of the database; its lease runs out", self._lease)
                return
            time.sleep(backoff.next())
        try:
            self._telling.write()
            self._lease.end()
        except Exception as error:
            logger.warning("worker %s could not sign off: %s", self._lease, error)

    def _delivery(self, claim: Claimed) -> Delivery:
        return Delivery(
            claim,
            self._lease,
            self._stopping,
            marking=self._marking,
            telling=self._telling,
            completing=self._completing,
        )

    def _planned(self, keeping: Keeping, settings: DatabaseSettings) -> list[Routine]:
        routines = [
            # On a thread of its own: a claim that is blocked must not cost the lease.
            Routine("heartbeat", settings.lease / 3, self._lease.renew),
            Routine("reaping", settings.lease / 4, keeping.reap),
            Routine("pruning", 60.0, keeping.prune),
            Routine("releasing", RELEASING, lambda: self._waking(keeping.release())),
            Routine("progress", INTERVAL, self._telling.write),
        ]
        if not self._options.drain:
            routines.append(
                Routine("promotion", self._options.polling_interval, lambda: self._waking(keeping.promote()))
            )
        return routines

    def _waking(self, ready: int) -> None:
        if ready:
            self.wake()

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

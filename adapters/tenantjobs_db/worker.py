"""A worker process: claims what it can start, runs it, and settles it together with the next claim."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from tenantjobs import lifecycle, signals
from tenantjobs.adapter import WorkOptions
from tenantjobs_db import collecting, health
from tenantjobs_db.alarm import Alarm
from tenantjobs_db.alarms import alarm_of
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.batches import DatabaseBatches
from tenantjobs_db.cancelling import INTERVAL as CANCELLING
from tenantjobs_db.cancelling import Cancelling
from tenantjobs_db.chores import chores, promotion
from tenantjobs_db.completing import Completing
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.costs import Costs
from tenantjobs_db.database import Database
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.exchanging import PASSING, Exchanging
from tenantjobs_db.health import LIVE, Health
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.lease import Lease
from tenantjobs_db.marking import Marking
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.recycling import Recycling
from tenantjobs_db.rooms import Reserve
from tenantjobs_db.routine import Routine
from tenantjobs_db.selection import Selection
from tenantjobs_db.serving import INTERVAL as SERVING
from tenantjobs_db.serving import Serving
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.slots import Slots
from tenantjobs_db.telling import INTERVAL, Telling

logger = logging.getLogger("tenantjobs.db")

LAST_WORDS = 3.0  # seconds that a stopping worker spends on a database that does not answer


class Worker:
    """Serves queues until it is stopped, or until nothing is left to do.

    One that is ``alone`` looks after the queue as well, as a dispatcher does. ``recycling`` says when it makes room for
    another; ``retire`` is called then, while it finishes what runs. ``own_process``: there is nothing else in it.
    """

    def __init__(
        self,
        database: Database,
        settings: DatabaseSettings,
        options: WorkOptions,
        *,
        completing: Completing | None = None,
        inbox: DatabaseInbox | None = None,
        batches: DatabaseBatches | None = None,
        lease: Lease | None = None,
        alone: bool = True,
        own_process: bool = False,
        recycling: Recycling | None = None,
        retire: Callable[[], object] = lambda: None,
    ) -> None:
        processes = Processes(database, lease=settings.lease, max_deaths=settings.max_deaths)
        reserve = Reserve(options.threads, settings.reserve)
        costs = Costs()
        consumer = Consumer(
            database,
            Selection(options.queues, options.weights),
            keep_finished=settings.keeps_finished,
            reserve=reserve,
            costs=costs,
            patient=not options.drain,
        )
        self._options = options
        self._completing = completing
        self._marking = Marking(database)
        self._telling = Telling(database)
        self._cancelling = Cancelling(database)
        self._queue = Queue(database)
        self._lease = lease or Lease(processes, settings.lease)
        self._serving = Serving(database, self._lease, options, reserve)
        self._recycling = recycling
        self._retire = retire
        self._own_process = own_process
        self._exchanging = Exchanging(consumer, self._lease)
        self._slots = Slots(options.threads, self._delivery, costs, own_process=own_process)
        self._alarm = Alarm() if options.drain else alarm_of(database, options.queues, self._slots.wake)
        self._routines = self._own_routines(settings)
        if alone:
            self._routines += self._chores(
                Keeping(database, processes, self._lease, settings, inbox, batches), settings
            )
        self._stops = 0
        self._quiet = self._retiring = False
        self._turned = time.monotonic()
        self.hanging: Sequence[Claimed] = ()

    def run(self) -> int:
        """Work. 0 if every job that was started has ended and is settled.

        1 if some were given back while they ran (``hanging``), if the database could not be told of a verdict, or if
        the lease was lost to others.
        """
        self._lease.begin()
        queues = ", ".join(self._options.queues)
        logger.info("worker %s serves %s, %d jobs at a time", self._lease, queues, self._options.threads)
        process = lifecycle.Process(
            kind="worker", id=self._lease.process, threads=self._options.threads, queues=tuple(self._options.queues)
        )
        with (
            signals.obeyed(self),
            health.served(self._options.health, self.health),
            collecting.seldom(allowed=self._own_process),
        ):
            for routine in self._routines:
                routine.start()
            self._alarm.start()
            lifecycle.run("start", process)
            try:
                self._work()
            finally:
                lifecycle.run("stop", process)
                self._wind_down()
                lifecycle.run("exit", process)
        return 1 if self.hanging or not self._exchanging.settled or self._lease.is_lost else 0

    def stop(self) -> None:
        """Claim no more, and end once what runs has ended; asked a second time: give back what runs, and end.

        May be called by any thread and by a signal handler.
        """
        self._stops += 1
        self._slots.wake()

    def halt(self) -> None:
        """Give back what runs, and end."""
        self._stops += 2
        self._slots.wake()

    def quiet(self) -> None:
        """Claim no more; what runs goes on, and the worker stays until it is stopped."""
        self._quiet = True

    def wake(self) -> None:
        """There is work: do not wait for the next look."""
        self._slots.wake()

    def health(self) -> Health:
        """How the worker is, by its own loop and its own heartbeats."""
        live = time.monotonic() - self._turned < LIVE
        if self._stopping():
            reason = "it stops"
        elif self._quiet:
            reason = "it is quiet"
        elif not self._lease.is_fresh:
            reason = "the database does not take its heartbeats"
        else:
            return Health(live=live, ready=live)
        return Health(live=live, ready=False, reason=reason)

    def _stopping(self) -> bool:
        return self._stops > 0

    def _work(self) -> None:
        backoff = Backoff()
        while not self._stopping():
            self._turned = time.monotonic()
            try:
                idle = self._turn()
            except Exception as error:
                pause = backoff.next()
                unexpected = not isinstance(error, PASSING)
                logger.warning("the queue did not answer, tried again in %.1f s: %s", pause, error, exc_info=unexpected)
                self._gather(pause)
            else:
                backoff.reset()
                if idle and (self._options.drain or self._retiring):
                    return
                self._exchanging.keep(self._slots.results(self._options.polling_interval))
                if self._slots.stuck():
                    self._exchanging.keep(self._slots.withdraw())

    def _turn(self) -> bool:
        """One exchange. True if there was nothing at all to do."""
        running = self._slots.running
        idle = self._exchanging.settled and not running
        if self._options.drain and self._queue.promote():
            idle = False
        free = self._free()
        if not free:
            self._alarm.stir()
            if self._exchanging.settled:
                return idle
        claimed = self._exchanging.exchange(free, running, self._alarm.called())
        if claimed:
            self._alarm.stir()
        elif free:
            self._alarm.rest()
        self._slots.start(claimed)
        if any(claim.deaths for claim in claimed):
            # One of them may have killed a process, and whatever is claimed beside it dies with it: no more than runs.
            self._exchanging.keep(self._slots.withdraw())
        if self._recycling is not None:
            self._recycling.started(len(claimed))
        return idle and not claimed

    def _free(self) -> int:
        """How many jobs may be claimed."""
        if self._recycling is not None and not self._retiring and (reason := self._recycling.due()) is not None:
            logger.info("worker %s makes room for another: %s", self._lease, reason)
            self._retiring = True
            self._retire()
        if self._quiet or self._retiring or self._lease.is_lost:
            return 0
        left = None if self._recycling is None else self._recycling.jobs_left
        return self._slots.free if left is None else min(left, self._slots.free)

    def _gather(self, seconds: float) -> None:
        """Spend some time taking in results, without asking the database."""
        until = time.monotonic() + seconds
        while not self._stopping() and (left := until - time.monotonic()) > 0:
            self._exchanging.keep(self._slots.results(left))

    def _wind_down(self) -> None:
        """Finish what runs, within the time there is; give the rest back, and leave."""
        logger.info("worker %s stops, and waits for the %d jobs that run", self._lease, len(self._slots.running))
        until = time.monotonic() + self._options.shutdown_timeout
        self._exchanging.keep(self._slots.withdraw())
        while self._slots.running and self._stops < 2 and (left := until - time.monotonic()) > 0:
            self._exchanging.keep(self._slots.results(left))
            self._settle()
        self._exchanging.keep(self._slots.results(0))  # what has ended while nobody waited for it
        self.hanging = self._slots.running
        for claim in self.hanging:
            logger.warning("%s still ran when the worker had to stop: given back", claim)
        self._exchanging.keep(self._slots.abandon())
        self._say_goodbye()
        self._alarm.stop()
        for routine in self._routines:
            routine.stop()
        for routine in self._routines:
            routine.join(1.0)
        self._alarm.join(1.0)
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

    def _own_routines(self, settings: DatabaseSettings) -> list[Routine]:
        return [
            # On a thread of its own: a claim that is blocked must not cost the lease.
            Routine("heartbeat", settings.lease / 3, self._lease.renew),
            Routine("serving", SERVING, self._serving.tell),
            Routine("progress", INTERVAL, self._telling.write),
            Routine("cancelling", CANCELLING, lambda: self._cancelling.tell(self._slots.deliveries)),
        ]

    def _chores(self, keeping: Keeping, settings: DatabaseSettings) -> list[Routine]:
        found = chores(keeping, lease=settings.lease, wake=self.wake)
        if not self._options.drain:
            found.append(promotion(keeping, interval=self._options.polling_interval, wake=self.wake))
        return found

"""The other side of the gate: jobs that a broker's worker is given a ticket for, performed and settled in the table."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import bindparam, exists, select, update

from tenantjobs.config.settings import GateSettings
from tenantjobs_db.admitting import broker_id
from tenantjobs_db.attempting import attempt
from tenantjobs_db.backoff import Backoff
from tenantjobs_db.cancelling import INTERVAL as CANCELLING
from tenantjobs_db.cancelling import Cancelling
from tenantjobs_db.completing import Completing
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import Database
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.exchanging import Exchanging
from tenantjobs_db.lease import Lease
from tenantjobs_db.limiting import Limiting
from tenantjobs_db.marking import Marking
from tenantjobs_db.processes import Processes
from tenantjobs_db.routine import Routine
from tenantjobs_db.selection import Selection
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settlement import Claimed, GiveBack, Settlement
from tenantjobs_db.tables import cancellations, jobs
from tenantjobs_db.telling import INTERVAL, Telling

logger = logging.getLogger("tenantjobs.db")

LAST_WORDS = 3.0  # seconds that a process spends on a database that does not answer, before it leaves


class DatabaseGate:
    """Performs what was let through. A process of a broker's worker signs on with its first job."""

    def __init__(
        self, database: Database, settings: DatabaseSettings, gate: GateSettings, completing: Completing | None
    ) -> None:
        self.settings = gate
        self._database = database
        self._settings = settings
        self._broker = broker_id(gate.adapter)
        self._completing = completing
        self._marking = Marking(database)
        self._limiting = Limiting(database)
        self._lock = threading.RLock()
        self._presence: Presence | None = None
        self._take = (
            update(jobs)
            .where(jobs.c.id == bindparam("job_id"), jobs.c.claimed_by == bindparam("broker"))
            .values(claimed_by=bindparam("process"), claimed_at=database.dialect.now())
        )
        columns = (jobs.c.id, jobs.c.fence, jobs.c.queue, jobs.c.name, jobs.c.tenant, jobs.c.attempt, jobs.c.data)
        cancelled = exists().where(cancellations.c.job_id == jobs.c.id).label("cancelled")
        self._row = select(*columns, jobs.c.deaths, cancelled).where(jobs.c.id == bindparam("job_id"))

    def perform(self, job_id: str, stopping: Callable[[], bool]) -> None:
        """Perform the job, and settle it; nothing if it is not the broker's any more.

        A second message finds that it was started; so does one that comes after its job was taken back.
        """
        presence = self._here()
        with presence.exclusive():
            claim, cancelled = self._taken(job_id, presence)
            if claim is not None:
                presence.running[claim.id] = claim
        if claim is None:
            logger.info("job id=%s was delivered again, or too late, and is left alone", job_id)
            return
        settlement: Settlement = GiveBack(claim)  # whatever comes through here
        try:
            permitted = None if cancelled else self._limiting.taken_over(claim)
            if permitted is not None:
                delivery = presence.deliveries[claim.id] = self._delivery(permitted, presence, stopping)
                settlement = attempt(delivery)
        finally:
            presence.settle(settlement)

    def leave(self) -> None:
        """Write what is still to be written, and sign off; the next job signs on again."""
        with self._lock:
            presence, self._presence = self._presence, None
        if presence is not None and presence.pid == os.getpid():
            presence.end()

    def _here(self) -> Presence:
        with self._lock:
            if self._presence is None or self._presence.pid != os.getpid():  # a child inherits no threads
                self._presence = Presence(self._database, self._settings)
                self._presence.begin()
            return self._presence

    def _taken(self, job_id: str, presence: Presence) -> tuple[Claimed | None, bool]:
        """The claim if it was the broker's, and whether the job was cancelled while it waited there."""
        process = presence.process
        with self._database.begin() as connection:
            wish = {"job_id": job_id, "broker": self._broker, "process": process}
            if connection.execute(self._take, wish).rowcount != 1:
                return None, False
            row = connection.execute(self._row, {"job_id": job_id}).one()
        claim = Claimed(row.id, row.fence, process, row.queue, row.name, row.tenant, row.attempt, row.data, row.deaths)
        return claim, bool(row.cancelled)

    def _delivery(self, claim: Claimed, presence: Presence, stopping: Callable[[], bool]) -> Delivery:
        return Delivery(
            claim,
            presence.lease,
            stopping,
            marking=self._marking,
            telling=presence.telling,
            completing=self._completing,
        )


class Presence:
    """This process as the table knows it: kept alive, with its verdicts kept until they are written."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        processes = Processes(database, lease=settings.lease, max_deaths=settings.max_deaths)
        self.pid = os.getpid()
        self.lease = Lease(processes, settings.lease)
        self.telling = Telling(database)
        self.running: dict[str, Claimed] = {}
        self.deliveries: dict[str, Delivery] = {}
        cancelling = Cancelling(database)
        self._consumer = Consumer(database, Selection(["*"]), keep_finished=settings.keeps_finished)
        self._exchanging = Exchanging(self._consumer, self.lease)
        self._doubtful = False  # after an error, which may have hidden that a job was taken over
        self._turn = threading.RLock()
        self._routines = (
            Routine("heartbeat", settings.lease / 3, self.lease.renew),
            Routine("progress", INTERVAL, self.telling.write),
            Routine("cancelling", CANCELLING, lambda: cancelling.tell(lambda: list(self.deliveries.values()))),
            Routine("settling", INTERVAL, self.catch_up),
        )

    @property
    def process(self) -> str:
        """The id to claim under; that of a process which was given up is renewed first."""
        self.lease.renew_if_stale()
        return self.lease.process

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While nobody else asks what this process holds without knowing; an error has that asked soon."""
        with self._turn:
            try:
                yield
            except Exception:
                self._doubtful = True
                raise

    def begin(self) -> None:
        self.lease.begin()
        for routine in self._routines:
            routine.start()

    def settle(self, settlement: Settlement) -> None:
        """Write it now, or as soon as the database answers."""
        with self._turn:
            self.running.pop(settlement.claim.id, None)
            self.deliveries.pop(settlement.claim.id, None)
            self._exchanging.keep([settlement])
            try:
                self._exchanging.exchange(0, list(self.running.values()))
            except Exception as error:
                logger.warning("the verdict on %s is not written yet: %s", settlement.claim, error)

    def end(self) -> None:
        """Leave; with a verdict that could not be written, the lease runs out, and the job comes again."""
        until = time.monotonic() + LAST_WORDS
        backoff = Backoff(longest=0.5)
        for routine in self._routines:
            routine.stop()
        while (self._doubtful or not self._exchanging.settled) and time.monotonic() < until:
            try:
                self.catch_up()
            except Exception:
                time.sleep(backoff.next())
        try:
            self.telling.write()
            if self._exchanging.settled:
                self.lease.end()
        except Exception as error:
            logger.warning("process %s could not sign off: %s", self.lease, error)

    def catch_up(self) -> None:
        """Write what could not be written when it was to be, and give back what nobody here knows of."""
        with self._turn:
            if not self._exchanging.settled:
                self._exchanging.exchange(0, list(self.running.values()))
            if self._doubtful:
                known = {(claim.id, claim.fence) for claim in self.running.values()}
                self._consumer.give_back_unknown(self.lease.process, known)
                self._doubtful = False

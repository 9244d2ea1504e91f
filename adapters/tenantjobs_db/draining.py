"""Everything that is due, performed here and now: for tests, through the real claim and the real door."""

from __future__ import annotations

from tenantjobs_db.attempting import perform
from tenantjobs_db.completing import Completing
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import Database
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.lease import Lease
from tenantjobs_db.marking import Marking
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.selection import Selection
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settlement import Claimed, GiveBack, Quarantine, Settlement
from tenantjobs_db.telling import Telling


def drain(database: Database, settings: DatabaseSettings, completing: Completing | None = None) -> int:
    """Perform jobs one by one until nothing is due; how many attempts there were.

    Retries that are due at once are performed as well; what is scheduled for later stays. A job that was
    interrupted goes back at the end, and is not tried again here.
    """
    queue = Queue(database)
    consumer = Consumer(database, Selection(["*"]), keep_finished=settings.keeps_finished)
    lease = Lease(Processes(database, lease=settings.lease, max_deaths=settings.max_deaths), settings.lease, "drain")
    lease.begin()
    marking, telling = Marking(database), Telling(database)
    performed = 0
    to_settle: list[Settlement] = []
    interrupted: list[Settlement] = []
    try:
        while (claim := _next(queue, consumer, lease, to_settle, settings)) is not None:
            # Given back unless there is a verdict in the end, whatever comes through here.
            to_settle = [GiveBack(claim)]
            delivery = Delivery(claim, lease, lambda: False, marking=marking, telling=telling, completing=completing)
            settlement = perform(delivery)
            telling.write()
            to_settle = [settlement]
            if isinstance(settlement, GiveBack):
                interrupted.append(to_settle.pop())
            elif not isinstance(settlement, Quarantine):
                performed += 1
    finally:
        consumer.exchange(lease.process, to_settle + interrupted)
        lease.end()
    return performed


def _next(
    queue: Queue, consumer: Consumer, lease: Lease, to_settle: list[Settlement], settings: DatabaseSettings
) -> Claimed | None:
    """Settle the last job and claim one; None once nothing is due."""
    lease.renew_if_stale(settings.lease / 3)
    claimed = consumer.exchange(lease.process, to_settle, 1).claimed
    to_settle.clear()
    if not claimed and queue.promote():
        claimed = consumer.exchange(lease.process, (), 1).claimed
    return claimed[0] if claimed else None

"""What any worker does for all of them: jobs whose time has come, the jobs of the dead, what may be forgotten."""

from __future__ import annotations

import logging

from tenantjobs import concluding
from tenantjobs_db.batches import DatabaseBatches
from tenantjobs_db.cancelling import Cancelling
from tenantjobs_db.database import Database
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.lease import Lease
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.permits import DatabasePermits
from tenantjobs_db.processes import BATCH as REAPED_AT_ONCE
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import BATCH, Queue
from tenantjobs_db.rates import DatabaseRates
from tenantjobs_db.releasing import Releasing
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.telling import Telling
from tenantjobs_db.ticks import DatabaseTicks

logger = logging.getLogger("tenantjobs.db")


class Keeping:
    """The chores. Each works off what there is in batches, so that no transaction is long."""

    def __init__(
        self,
        database: Database,
        processes: Processes,
        lease: Lease,
        settings: DatabaseSettings,
        inbox: DatabaseInbox | None = None,
        batches: DatabaseBatches | None = None,
    ) -> None:
        self._queue = Queue(database)
        self._ledger = DatabaseLedger(database)
        self._locks = DatabaseLocks(database)
        self._permits = DatabasePermits(database)
        self._rates = DatabaseRates(database)
        self._releasing = Releasing(database)
        self._processes = processes
        self._lease = lease
        self._settings = settings
        self._inbox = inbox
        self._batches = DatabaseBatches(database) if batches is None else batches
        self._telling = Telling(database)
        self._cancelling = Cancelling(database)
        self._ticks = DatabaseTicks(database)

    def promote(self, batch: int = BATCH) -> int:
        """Make the jobs ready whose time has come, ``batch`` at a time; how many there were."""
        promoted = count = self._queue.promote(batch)
        while count == batch:
            promoted += (count := self._queue.promote(batch))
        return promoted

    def release(self) -> int:
        """Make blocked jobs ready for which there are permits that nobody has let them out for; how many there were."""
        return self._releasing.release()

    def reap(self) -> None:
        """Take over the jobs of processes that have not been heard of."""
        while True:
            reaped = self._processes.reap(self._lease.process)
            for job_id in reaped.given_back:
                logger.warning("job id=%s was given back: the process that had claimed it is dead", job_id)
            self._locks.forsake(reaped.failed)
            for job_id in reaped.failed:
                logger.error("job id=%s has failed: too many processes died with it", job_id)
            if len(reaped.given_back) + len(reaped.failed) < REAPED_AT_ONCE:
                break
        while cancelled := self._cancelling.take_back():
            self._locks.forsake(cancelled)
            self._permits.forsake(cancelled)
        self.conclude()

    def conclude(self) -> None:
        """Tell batches of jobs that ended where nobody told them, and let those end that wait for nothing any more."""
        for batch, job, state in self._batches.untold():
            concluding.tell(batch, job, state)
        for batch in self._batches.stalled():
            concluding.conclude(batch)

    def prune(self) -> None:
        """Forget what is old: finished jobs with their progress, keys, locks, permits, the inbox, ended batches."""
        while (age := self._settings.forgotten_after) is not None and self._queue.prune(age) == BATCH:
            pass
        age_of_failed, kept = self._settings.failed_retention, self._settings.failed_retention_count
        while (failed := self._queue.prune_failed(age_of_failed, kept)) > 0:
            logger.warning("%d failed jobs were forgotten, as failed_retention says", failed)
        self._telling.prune()
        self._cancelling.prune()
        while self._ledger.prune() == BATCH:
            pass
        while self._ticks.prune() == BATCH:
            pass
        while self._locks.prune() == BATCH:
            pass
        while self._permits.prune() == BATCH:
            pass
        while self._rates.prune() == BATCH:
            pass
        while self._inbox is not None and self._inbox.prune() == BATCH:
            pass
        while age is not None and self._batches.prune(age) == BATCH:
            pass

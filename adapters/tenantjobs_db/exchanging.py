"""The exchange of a worker, made to last: verdicts are kept until the database has them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tenantjobs_db.consumer import Consumer
from tenantjobs_db.failure import Failure
from tenantjobs_db.lease import Lease
from tenantjobs_db.settlement import Claimed, Fail, GiveBack, Settlement

logger = logging.getLogger("tenantjobs.db")

# The database does not answer, is locked, or has picked us as a deadlock's victim: the same again will do.
PASSING = (OperationalError, InterfaceError, PoolTimeout, OSError)
UNSTORABLE = "tenantjobs_db.UnstorableVerdict"


class Exchanging:
    """Settles and claims for a lease. An error of the database is raised, and costs no verdict."""

    def __init__(self, consumer: Consumer, lease: Lease) -> None:
        self._consumer = consumer
        self._lease = lease
        self._unsettled: list[Settlement] = []
        # True after an error: the commit may have happened although its answer did not arrive.
        self._unsure = False

    @property
    def settled(self) -> bool:
        return not self._unsettled

    def keep(self, settlements: Sequence[Settlement]) -> None:
        """Take verdicts in, to be written with the next exchange."""
        self._unsettled += settlements

    def exchange(self, wanted: int, running: Sequence[Claimed], called: Collection[str] = ()) -> list[Claimed]:
        """Write what is to be settled, and claim up to ``wanted`` jobs, where we were ``called`` for some of them."""
        try:
            self._lease.renew_if_stale()
            if self._unsure:
                self._give_back_unknown(running)
            wanted = 0 if self._lease.is_lost else wanted
            exchange = self._consumer.exchange(self._lease.process, self._unsettled, wanted, running, called)
        except Exception as error:
            self._unsure = True
            if self._unsettled and not isinstance(error, PASSING):
                self._settle_one_by_one()
            raise
        self._unsure = False
        self._unsettled = []
        _report(exchange.refused)
        return exchange.claimed

    def _give_back_unknown(self, running: Sequence[Claimed]) -> None:
        claims = [*running, *(settlement.claim for settlement in self._unsettled)]
        known = {(claim.id, claim.fence) for claim in claims}
        count = self._consumer.give_back_unknown(self._lease.process, known)
        if count:
            logger.warning("gave back %d jobs whose claim was committed without an answer", count)

    def _settle_one_by_one(self) -> None:
        """Find the verdict that the database will not take, so that it holds up no other."""
        for settlement in list(self._unsettled):
            try:
                refused = self._consumer.exchange(self._lease.process, [settlement]).refused
            except PASSING:
                return
            except Exception as error:
                self._replace(settlement, error)
            else:
                self._unsettled.remove(settlement)
                _report(refused)

    def _replace(self, settlement: Settlement, error: Exception) -> None:
        claim = settlement.claim
        logger.error("the verdict on %s cannot be stored: %s: %r", claim, type(settlement).__name__, error)
        self._unsettled.remove(settlement)
        if not isinstance(settlement, Fail) or settlement.failure.error_class != UNSTORABLE:
            reason = f"its verdict, {type(settlement).__name__}, could not be stored: {type(error).__name__}"
            self._unsettled.append(Fail(claim, Failure(UNSTORABLE, reason, "")))


def _report(refused: Sequence[Settlement]) -> None:
    for settlement in refused:
        if not isinstance(settlement, GiveBack):
            logger.warning(
                "%s: %s was refused, because the job is not ours any more: its lease ran out, or an earlier answer of "
                "the database was lost",
                settlement.claim,
                type(settlement).__name__,
            )

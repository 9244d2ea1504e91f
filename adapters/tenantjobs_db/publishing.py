"""The gate at work: it claims for a broker what may go there, and sends a ticket for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from tenantjobs import adapter, faults, gate
from tenantjobs.adapter import Adapter
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnqueueError, PartlyEnqueued
from tenantjobs_db.admitting import Admitting
from tenantjobs_db.alarm import Alarm
from tenantjobs_db.failure import Failure
from tenantjobs_db.settlement import Claimed, Fail, GiveBack, Settlement

logger = logging.getLogger("tenantjobs.db")

AT_A_STRETCH = 1.0  # seconds
BREATH = 0.005  # seconds between two claims while there is always room again


class Publishing:
    """Claimed first and sent then: what a gate that dies has not sent is taken back when it is not started in time."""

    def __init__(self, admitting: Admitting) -> None:
        self.alarm = Alarm()  # what calls for ``work`` between two looks
        self._admitting = admitting

    def work(self) -> None:
        """Let jobs through for as long as there are some and the broker takes them, and not much longer than a look."""
        until = time.monotonic() + AT_A_STRETCH
        while self.publish() and time.monotonic() < until:
            time.sleep(BREATH)
        # While the broker is full, or a tenant paused, whoever enqueues need not call for a look that finds no room.
        if self._admitting.is_idle:
            self.alarm.rest()
        else:
            self.alarm.stir()

    def publish(self) -> int:
        """Let jobs through; how many there were. What the broker raises when it is down, with the jobs given back."""
        claims = self._admitting.admit()
        if not claims:
            return 0
        faults.point("before_publish")
        try:
            errors = _sent(gate.target(), claims)
        except Exception:
            self._admitting.exchange(self._admitting.broker, [GiveBack(claim) for claim in claims])
            raise
        faults.point("after_publish")
        unsent = [claim for claim in claims if claim.id in errors]
        if unsent:
            self._admitting.exchange(self._admitting.broker, [_unsent(claim, errors[claim.id]) for claim in unsent])
        return len(claims) - len(unsent)

    def take_back(self) -> None:
        """Let those through again that were let through and never started: their messages are lost, or will be late."""
        for job_id in self._admitting.take_back():
            logger.warning("job id=%s was not started in time, and is published again: its message may be lost", job_id)


def _sent(target: Adapter, claims: Sequence[Claimed]) -> Mapping[str, Exception]:
    """Why some were not sent, by the id of the job."""
    tickets = [_ticket(claim) for claim in claims]
    try:
        return adapter.enqueue_each(target, tickets)
    except PartlyEnqueued as partly:
        return partly.errors
    except EnqueueError:
        return _sent_singly(target, tickets)  # one that no broker takes must not keep the others back


def _sent_singly(target: Adapter, tickets: Sequence[Envelope]) -> Mapping[str, Exception]:
    errors: dict[str, Exception] = {}
    for ticket in tickets:
        try:
            target.enqueue(ticket)
        except Exception as error:
            errors[ticket.id] = error
    return errors


def _ticket(claim: Claimed) -> Envelope:
    return gate.ticket(claim.id, claim.name, queue=claim.queue, tenant=claim.tenant, number=claim.fence - 1)


def _unsent(claim: Claimed, error: Exception) -> Settlement:
    """One that the broker cannot take has failed; for all else there is another time."""
    if isinstance(error, EnqueueError):
        logger.error("%s cannot be published: %s", claim, error)
        return Fail(claim, Failure.of(error))
    logger.warning("%s could not be published, and waits on: %s", claim, error)
    return GiveBack(claim)

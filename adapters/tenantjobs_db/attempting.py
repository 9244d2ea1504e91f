"""One claimed job through the door, and its verdict as something to settle."""

from __future__ import annotations

import asyncio
import logging
from typing import assert_never

from tenantjobs import clock, definition, execution
from tenantjobs.errors import Interruption, LeaseLost
from tenantjobs.outcome import Discarded, Failed, Finished, Outcome, Quarantined, Retried
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.failure import Failure
from tenantjobs_db.settlement import Claimed, Discard, Fail, Finish, GiveBack, Quarantine, Retry, Settled, Settlement

logger = logging.getLogger("tenantjobs.db")


def is_async(claim: Claimed) -> bool:
    """Whether the job wants an event loop. An unknown one goes to a thread, and from there to quarantine."""
    job = definition.lookup(claim.name)
    return job is not None and job.is_async


def perform(delivery: Delivery) -> Settlement:
    """Run the job here, and say what is to be settled. What is not for a job to raise goes on to the caller."""
    try:
        return _settlement(delivery.claim, execution.execute(delivery.claim.data, delivery))
    except (Interruption, LeaseLost):
        return GiveBack(delivery.claim)


def attempt(delivery: Delivery) -> Settlement:
    """The same on a thread of a worker, which nothing that a job does may end; not begun if the worker stops."""
    try:
        return GiveBack(delivery.claim) if delivery.stopping() else perform(delivery)
    except BaseException as error:
        return _broken(delivery.claim, error)


async def aattempt(delivery: Delivery) -> Settlement:
    """The same of an async job, in a task that is there for nothing else."""
    claim = delivery.claim
    try:
        if delivery.stopping():
            return GiveBack(claim)
        return _settlement(claim, await execution.aexecute_in_task(claim.data, delivery))
    except (Interruption, LeaseLost):
        return GiveBack(claim)
    except asyncio.CancelledError as error:
        return GiveBack(claim) if delivery.stopping() else _broken(claim, error)
    except BaseException as error:
        return _broken(claim, error)


def _settlement(claim: Claimed, outcome: Outcome) -> Settlement:
    match outcome:
        case Finished(settled=True):
            return Settled(claim)
        case Finished(note=note, result=result):
            return Finish(claim, note, result)
        case Retried(due_at=due_at, error=error, note=note):
            wait = (due_at - clock.now()).total_seconds()
            return Retry(claim, outcome.again(), wait, _failure(error), note)
        case Discarded(reason=reason, error=error):
            return Discard(claim, reason, _failure(error))
        case Failed(error=error, envelope=envelope):
            return Fail(claim, Failure.of(error), envelope)
        case Quarantined(error=error):
            return Quarantine(claim, f"{type(error).__name__}: {error}")
        case _:
            assert_never(outcome)


def _failure(error: BaseException | None) -> Failure | None:
    return None if error is None else Failure.of(error)


def _broken(claim: Claimed, error: BaseException) -> Settlement:
    logger.error("%s ended without a verdict: %r", claim, error)
    return Fail(claim, Failure.of(error))

"""What follows an attempt: the next job of its chain, and what its batch makes of it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import msgspec

from tenantjobs import adapter, clock, concluding, links, logs
from tenantjobs.adapter import JoinsTransaction
from tenantjobs.colours import Colour
from tenantjobs.envelope import Envelope
from tenantjobs.handing import Sealed, hand_over
from tenantjobs.membership import DONE, FAILED, batches_for
from tenantjobs.outcome import Discarded, Failed, Finished, Outcome, Retried
from tenantjobs.running import JobContext

logger = logging.getLogger("tenantjobs.chains")

AGAIN = 5.0  # seconds until a job comes back whose followers could not be told


def concerns(envelope: Envelope) -> bool:
    """Whether somebody waits for the end of the job."""
    return bool(envelope.chain) or concluding.is_concerned(envelope)


class Following:
    """For one attempt. Whatever is done here may be done again, by a delivery that comes twice."""

    def __init__(self, envelope: Envelope, job: JobContext, io: Colour) -> None:
        self._envelope = envelope
        self._job = job
        self._io = io
        self._sent: list[Sealed] | None = None

    def with_commit(self, session: Any) -> None:
        """Have it done by the commit of a job that is finished by that: nobody might be there after it."""
        session.before_commit(self._within)

    async def after(self, outcome: Outcome, stands: Envelope) -> Outcome:
        """``outcome``, when those that wait for it have been told.

        If they cannot be, the job, which ``stands`` where it is, comes back uncharged.
        """
        if isinstance(outcome, Retried):
            return outcome
        succeeded = isinstance(outcome, Finished)
        try:
            if self._sent is None or not succeeded:
                await self._io.blocking(self._tell, succeeded)
            else:
                await self._io.blocking(self._told)
        except Exception as error:
            logger.warning("job %s id=%s has to come back: %r", self._job.name, self._job.id, error, exc_info=True)
            if isinstance(outcome, Finished) and outcome.settled:
                return outcome
            uncharged = msgspec.structs.replace(stands, attempt=stands.attempt - 1)
            note = f"what waits for its end could not be told: {type(error).__name__}"
            return Retried(uncharged, clock.now() + timedelta(seconds=AGAIN), note=note)
        if not succeeded and self._envelope.chain:
            self._say_where_it_stopped(outcome)
        return outcome

    def _tell(self, succeeded: bool) -> None:
        following = links.following(self._envelope) if succeeded else None
        if following is not None:
            job = Sealed(following)
            for sent in hand_over([job], adapter.configured()):
                sent.sent()
            if job.error is not None:
                self._refused(job)
        if concluding.is_concerned(self._envelope):
            concluding.end(self._envelope, DONE if succeeded else FAILED)

    def _within(self, connection: object) -> None:
        target = adapter.configured()
        if connection is None or not isinstance(target, JoinsTransaction) or not target.joins(connection):
            return
        concerned = concluding.is_concerned(self._envelope)
        if concerned and not batches_for("a job is of a batch").joins(connection):
            return
        following = links.following(self._envelope)
        jobs = [] if following is None else [Sealed(following)]
        sent = hand_over(jobs, target, connection) if jobs else []
        if concerned:
            sent += concluding.end_within(self._envelope, DONE, connection, target)
        self._sent = [*sent, *(job for job in jobs if job.error is not None)]

    def _told(self) -> None:
        """After that commit: nothing is left to do but to say so."""
        for job in self._sent or ():
            if job.error is None:
                job.sent()
            else:
                self._refused(job)

    def _refused(self, job: Sealed) -> None:
        """The next job is a duplicate: the chain ends there."""
        rest = len(job.members) - 1
        logger.error("chain stopped before job %s id=%s: %s; %d jobs behind it", job.name, job.job_id, job.error, rest)
        if concluding.is_concerned(job.seal()):
            concluding.end(job.seal(), FAILED)

    def _say_where_it_stopped(self, outcome: Outcome) -> None:
        error = outcome.error if isinstance(outcome, Discarded | Failed) else None
        waiting = [links.opened(link).envelope() for link in self._envelope.chain]
        behind = ", ".join(f"{each.name} id={each.id}" for each in waiting)
        logs.line(logger, logging.ERROR, "stopped", self._job, f"its chain goes on no further: {behind}", error=error)

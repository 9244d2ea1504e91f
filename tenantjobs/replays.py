"""Messages that come once more when their job has ended: they have no second effect.

A copy of a good message has a good signature. So where signatures are enforced and there is a ledger, the id of each
job that has finished or was discarded is kept there for a while. The database queue needs none of it: its rows are the
jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenantjobs.adapter import HasLedger, keeper
from tenantjobs.colours import Colour
from tenantjobs.completing import AlreadyDone, Completes
from tenantjobs.envelope import Envelope
from tenantjobs.errors import LeaseLost
from tenantjobs.idempotency import Ledger
from tenantjobs.keyed import Key
from tenantjobs.outcome import Discarded, Finished, Outcome
from tenantjobs.signer import configured

logger = logging.getLogger("tenantjobs.replays")

LEASE = 900.0  # seconds: a job takes its own key over before that, and nobody else asks for it


def remembered_for(delivery: object) -> float:
    """For how many seconds ids are kept: 0 in a queue whose rows are the jobs, and where no signature is enforced."""
    signer = configured()
    return 0.0 if signer is None or isinstance(delivery, Completes) else signer.remember


class Replays:
    """The id of one job in the ledger: taken when it starts, marked when it has ended, and free where it comes back."""

    def __init__(self, envelope: Envelope, io: Colour, seconds: float) -> None:
        self._envelope = envelope
        self._io = io
        self._seconds = seconds
        self._key: Key | None = None
        self.refused = False

    async def refuse(self) -> None:
        """``AlreadyDone`` if the job has ended before."""
        ledger = _ledger()
        if ledger is None:
            return
        envelope = self._envelope
        key = Key(ledger, envelope.tenant_id or "", f"replay:{envelope.id}")
        found = await key.take(self._io, owner=envelope.id, lease=LEASE, ttl=self._seconds, on_running="retry")
        if found == "done":
            logger.warning(
                "job %s id=%s tenant=%s has ended before, and is not performed again: its message was delivered once "
                "more, or sent once more by somebody",
                envelope.name,
                envelope.id,
                envelope.tenant_id,
            )
            self.refused = True
            raise AlreadyDone
        self._key = key

    async def around(self, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Do ``attempt``, and mark the job as ended if it has. One that failed may be sent again by whoever decides."""
        outcome = await attempt()
        if self._key is not None and isinstance(outcome, Finished | Discarded):
            try:
                await self._io.blocking(self._key.complete)
            except (Exception, LeaseLost):  # the effect is there: nothing may fail for this, nor be rolled back
                logger.warning("job id=%s is not noted as ended", self._envelope.id, exc_info=True)
        return outcome


def _ledger() -> Ledger | None:
    found = keeper(HasLedger)
    return found.ledger if isinstance(found, HasLedger) else None

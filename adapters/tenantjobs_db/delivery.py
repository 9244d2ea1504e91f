"""What a worker knows of a job that it runs, beyond the data."""

from __future__ import annotations

from collections.abc import Callable

from tenantjobs.bookmark import Bookmark
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError
from tenantjobs.outcome import Finished
from tenantjobs.permits import Grant
from tenantjobs.progress import Progress
from tenantjobs_db.completing import Completing
from tenantjobs_db.lease import Lease
from tenantjobs_db.marking import Marking
from tenantjobs_db.settlement import Claimed, Finish
from tenantjobs_db.telling import Telling


class Delivery:
    """One claim, and whether it still counts."""

    def __init__(
        self,
        claim: Claimed,
        lease: Lease,
        stopping: Callable[[], bool],
        *,
        marking: Marking,
        telling: Telling,
        completing: Completing | None = None,
    ) -> None:
        self.claim = claim
        self._marking = marking
        self._telling = telling
        self._completing = completing
        self._lease = lease
        self._stopping = stopping
        self._abandoned = False
        self._cancelled = False
        self._stop: Callable[[], object] | None = None

    def verify(self, envelope: Envelope) -> None:
        """A row and its envelope say the same; ``EnvelopeError`` where somebody has put another one there."""
        row = self.claim
        if (row.id, row.name, row.tenant) != (envelope.id, envelope.name, envelope.tenant_id or ""):
            raise EnvelopeError(
                f"the row says job {row.name} id={row.id} of tenant {row.tenant or None}, and its envelope job "
                f"{envelope.name} id={envelope.id} of tenant {envelope.tenant_id}: one of them was changed in the "
                f"database, so it is not run as either"
            )

    def granted(self) -> Grant | None:
        """The permit that the claim came with; None if all were taken."""
        return self.claim.grant

    def stopping(self) -> bool:
        """True once the worker wants to end."""
        return self._stopping()

    def lost(self) -> bool:
        """True once the job is not ours any more: given back, or given to others because we were taken for dead."""
        return self._abandoned or not self._lease.holds(self.claim.process)

    def abandon(self) -> None:
        """The worker gives the job back while it runs: what it has done is to be rolled back."""
        self._abandoned = True

    def cancelled(self) -> bool:
        """True once somebody has cancelled the job while it runs."""
        return self._cancelled

    def cancel(self) -> None:
        """Tell the job, and stop it where that can be done; by any thread."""
        self._cancelled = True
        stop = self._stop
        if stop is not None:
            stop()

    def stops_by(self, stop: Callable[[], object] | None) -> None:
        """How the job is stopped from now on; None if it is not any more."""
        self._stop = stop
        if stop is not None and self._cancelled:
            stop()

    def joins(self, connection: object) -> bool:
        """True if the row of the job can be written in the transaction of ``connection``."""
        return self._completing is not None and self._completing.joins(connection)

    def complete_within(self, connection: object, finished: Finished) -> None:
        """Finish the job with the transaction of ``connection``; LeaseLost if it is another worker's by now."""
        assert self._completing is not None, "joins() has said no"
        self._completing.complete(connection, Finish(self.claim, finished.note, finished.result))

    def mark_within(self, connection: object, envelope: Envelope) -> None:
        """Keep the bookmark with the transaction of ``connection``; LeaseLost if the job is another worker's by now."""
        self._marking.mark_within(connection, self.claim, envelope)

    def mark(self, envelope: Envelope) -> None:
        """The same in a transaction of its own."""
        self._marking.mark(self.claim, envelope)

    def kept(self) -> Bookmark | None:
        """The bookmark that was kept last; LeaseLost if the job is another worker's by now."""
        return self._marking.kept(self.claim)

    def tell(self, progress: Progress) -> None:
        """Have it written soon."""
        self._telling.tell(self.claim, progress)

    def __str__(self) -> str:
        return str(self.claim)

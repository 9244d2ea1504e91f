"""What a worker knows of a job that it runs, beyond the data."""

from __future__ import annotations

from collections.abc import Callable

from tenantjobs_db.lease import Lease
from tenantjobs_db.settlement import Claimed


class Delivery:
    """One claim, and whether it still counts."""

    def __init__(self, claim: Claimed, lease: Lease, stopping: Callable[[], bool]) -> None:
        self.claim = claim
        self._lease = lease
        self._stopping = stopping
        self._abandoned = False

    def stopping(self) -> bool:
        """True once the worker wants to end."""
        return self._stopping()

    def lost(self) -> bool:
        """True once the job is not ours any more: given back, or given to others because we were taken for dead."""
        return self._abandoned or not self._lease.holds(self.claim.process)

    def abandon(self) -> None:
        """The worker gives the job back while it runs: what it has done is to be rolled back."""
        self._abandoned = True

"""What a worker says about a job that it had claimed."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from tenantjobs.envelope import Envelope
from tenantjobs.permits import Grant
from tenantjobs_db.failure import Failure, storable


class Claimed(msgspec.Struct, frozen=True):
    """A job in the hands of a process. Only who shows both ``process`` and ``fence`` may settle it."""

    id: str
    fence: int
    process: str
    queue: str
    name: str
    tenant: str
    attempt: int
    data: str
    deaths: int = 0  # processes that died with it
    grant: Grant | None = None  # the permit of a limited job
    priority: int = 0  # lower is sooner

    def __str__(self) -> str:
        return f"{self.name} id={self.id} queue={self.queue} tenant={self.tenant or None} attempt={self.attempt + 1}"


class Settlement(msgspec.Struct, frozen=True):
    """A verdict on ``claim``; ``values`` is what its statement writes."""

    claim: Claimed

    retried: ClassVar[bool] = False

    @property
    def attempt(self) -> int:
        """Executions so far, this one included."""
        return self.claim.attempt + 1

    def values(self) -> dict[str, Any]:
        return {}


class Finish(Settlement, frozen=True):
    """Done. ``note`` says so if it was skipped; ``result`` is what is to be kept of what it returned."""

    note: str | None = None
    result: str | None = None

    def values(self) -> dict[str, Any]:
        return {"attempt": self.attempt, "reason": self.note}


class Settled(Settlement, frozen=True):
    """Done, and written by the job's own commit: there is nothing more to write."""


class Retry(Settlement, frozen=True):
    """Again after ``wait`` seconds, as ``envelope`` says now; without a ``failure`` nothing went wrong.

    A wait and not a moment: the clock of this process may be wrong, and the database's is the one that jobs go by.
    """

    envelope: Envelope
    wait: float
    failure: Failure | None = None
    note: str | None = None

    retried: ClassVar[bool] = True

    @property
    def attempt(self) -> int:
        return self.envelope.attempt

    def values(self) -> dict[str, Any]:
        return {
            "queue": self.envelope.queue,
            "priority": self.envelope.priority,
            "attempt": self.attempt,
            "wait": round(self.wait, 3),
            "data": self.envelope.encode().decode(),
            "reason": self.note,
        }


class Fail(Settlement, frozen=True):
    """Failed, and kept until someone decides. Without an ``envelope`` the data stays as it was."""

    failure: Failure
    envelope: Envelope | None = None

    @property
    def attempt(self) -> int:
        return self.claim.attempt + 1 if self.envelope is None else self.envelope.attempt

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"attempt": self.attempt}
        return values if self.envelope is None else values | {"data": self.envelope.encode().decode()}


class Discard(Settlement, frozen=True):
    """Given up on purpose."""

    reason: str
    failure: Failure | None = None

    def values(self) -> dict[str, Any]:
        return {"attempt": self.attempt, "reason": storable(self.reason)}


class Quarantine(Settlement, frozen=True):
    """Not to be run here; kept as it came."""

    reason: str

    def values(self) -> dict[str, Any]:
        return {"reason": storable(self.reason)}


class GiveBack(Settlement, frozen=True):
    """Not done, and not the job's fault: no attempt is charged."""

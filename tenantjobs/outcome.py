"""What became of one attempt: the verdict that a worker settles."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError


class Finished(msgspec.Struct, frozen=True):
    """The job is done. ``note`` says so if it was skipped by a guard or a key.

    ``settled``: its queue has been told by the commit of the job itself. ``result`` is what it returned, as it is to be
    kept; None where nobody is to ask for it.
    """

    value: object = None
    note: str | None = None
    settled: bool = False
    result: str | None = None


class Retried(msgspec.Struct, frozen=True):
    """The job runs again at ``due_at``, with the counters that ``envelope`` carries.

    ``waits_for``: the limit of which all permits were taken, so that it has not started.
    """

    envelope: Envelope
    due_at: datetime
    error: BaseException | None = None
    note: str | None = None
    waits_for: str | None = None

    def again(self) -> Envelope:
        """The envelope of the next attempt, for a queue that takes it as a new message."""
        return msgspec.structs.replace(self.envelope, due_at=self.due_at)


class Discarded(msgspec.Struct, frozen=True):
    """The job was given up as its declarations say."""

    reason: str
    error: BaseException | None = None


class Failed(msgspec.Struct, frozen=True):
    """The job raised, and nothing declared says what to do about it."""

    error: BaseException
    envelope: Envelope


class Quarantined(msgspec.Struct, frozen=True):
    """What came off the queue may not be run; it is kept, visible, out of reach of any handler."""

    error: EnvelopeError


Outcome = Finished | Retried | Discarded | Failed | Quarantined

"""Where the bookmarks of jobs are kept whose queue keeps none: in the database beside it.

A broker delivers the message of a worker that died as it was enqueued, so that the job would begin from the start. What
its checkpoints have written here is where it goes on. There is one row for each job, and who has not seen what another
one has written does not write over it: a message that two workers have goes on in one of them.
"""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol, runtime_checkable

from tenantjobs.adapter import keeper
from tenantjobs.bookmark import Bookmark
from tenantjobs.envelope import Envelope
from tenantjobs.errors import LeaseLost

logger = logging.getLogger("tenantjobs.steps")


class TakenOver(LeaseLost):
    """Another delivery of the same message has gone on from a checkpoint: this one is rolled back."""


class Kept(NamedTuple):
    """A bookmark, and how often one was kept for its job."""

    bookmark: Bookmark
    version: int


class Bookmarks(Protocol):
    """The bookmarks of jobs under way, by their ids."""

    def joins(self, engine: object) -> bool:
        """True if they are in the database of ``engine``, or of the connection that it is."""
        ...

    def find(self, job_id: str) -> Kept | None: ...

    def keep(self, envelope: Envelope, version: int, connection: object | None = None) -> bool:
        """Keep the bookmark of ``envelope`` after that of ``version``, 0 for the first one; False if that is not the
        last one any more. It commits with the transaction of ``connection``, else at once.
        """
        ...

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        ...


@runtime_checkable
class HasBookmarks(Protocol):
    """A queue that brings a place for bookmarks along."""

    @property
    def bookmarks(self) -> Bookmarks: ...


class Beside:
    """The checkpoints of one execution of a job."""

    def __init__(self, store: Bookmarks, envelope: Envelope) -> None:
        self._store = store
        self._job = f"job {envelope.name} id={envelope.id}"
        self._job_id = envelope.id
        self._version = 0

    def find(self) -> Bookmark | None:
        """Where an execution before this one was."""
        found = self._store.find(self._job_id)
        if found is None:
            return None
        self._version = found.version
        return found.bookmark

    def joins(self, connection: object) -> bool:
        return self._store.joins(connection)

    def mark_within(self, connection: object, envelope: Envelope) -> None:
        """Keep the bookmark in the transaction of ``connection``; LeaseLost if another delivery has gone on."""
        self._keep(envelope, connection)

    def mark(self, envelope: Envelope) -> None:
        """The same in a transaction of its own."""
        self._keep(envelope, None)

    def kept(self) -> Bookmark | None:
        """The bookmark that was kept last."""
        return self.find()

    def forget(self) -> None:
        """The job has ended. What cannot be forgotten now is old some day."""
        if not self._version:
            return
        try:
            self._store.forget(self._job_id)
        except Exception:
            logger.warning("the bookmark of %s could not be removed", self._job, exc_info=True)

    def _keep(self, envelope: Envelope, connection: object | None) -> None:
        if not self._store.keep(envelope, self._version, connection):
            raise TakenOver(f"{self._job}: its message was delivered twice, and another worker has gone on with it")
        self._version += 1


def beside(envelope: Envelope) -> Beside | None:
    """The checkpoints of a job whose queue keeps none; None where there is no database to keep them in."""
    found = keeper(HasBookmarks)
    return Beside(found.bookmarks, envelope) if isinstance(found, HasBookmarks) else None

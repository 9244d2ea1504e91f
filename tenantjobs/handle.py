"""What a caller keeps of a job that was enqueued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenantjobs import concluding, outbox, results
from tenantjobs.adapter import Adapter
from tenantjobs.errors import UnsupportedCapability
from tenantjobs.locks import Wish, free
from tenantjobs.permits import Reservation, release
from tenantjobs.progress import Progress, ShowsProgress


class Handle:
    """A job on its way: its id, whether it has been enqueued, and the way to take it back.

    ``enqueued`` is True once the queue has it, False if it was dropped or refused (then ``enqueue_error`` may say
    why), and None while the transaction that it waits for is open.
    """

    __slots__ = (
        "_adapter",
        "_batched",
        "cancelled",
        "enqueue_error",
        "enqueued",
        "job_id",
        "lock",
        "name",
        "reservation",
    )

    def __init__(self, job_id: str, name: str, adapter: Adapter, batched: Sequence[str] = ()) -> None:
        self.job_id = job_id
        self.name = name
        self.enqueued: bool | None = None
        self.enqueue_error: Exception | None = None
        self.cancelled = False
        self.lock: Wish | None = None  # of a unique job that was enqueued
        self.reservation: Reservation | None = None  # of one that is discarded rather than made to wait
        self._adapter = adapter
        self._batched = batched  # the ids of the jobs that a batch knows under this handle

    def cancel(self) -> bool:
        """Take the job back if it has not started: True if it will not run.

        While its transaction is open this always works; later, ``UnsupportedCapability`` from a queue that cannot.
        """
        if self.enqueued is None:
            self.cancelled = True
            self.enqueued = False
            return True
        if not self.enqueued:
            return True
        self.cancelled = outbox.take_back(self.job_id, self._adapter)
        self.enqueued = not self.cancelled
        if self.cancelled and self.lock is not None:
            free(self.lock.locks, self.lock.lock)
        if self.cancelled and self._batched:
            concluding.leave(self._batched)
        if self.cancelled and self.reservation is not None:
            release(self.reservation.permits, self.reservation.request)
        return self.cancelled

    def progress(self) -> Progress | None:
        """How far the job has come, as it has told by ``current_job().progress(...)``; None if it has told nothing.

        ``UnsupportedCapability`` from a queue that keeps none.
        """
        if not isinstance(self._adapter, ShowsProgress):
            raise UnsupportedCapability(f"{type(self._adapter).__name__} keeps no progress of its jobs")
        return self._adapter.progress(self.job_id)

    def result(self) -> Any:
        """What the job has returned, if it says ``keep_result=True``; ``NoResult`` as long as it has not finished.

        ``JobGone`` if it was forgotten, in another transaction still, or of another tenant than the one that is set
        here. ``UnsupportedCapability`` from a queue that keeps no results.
        """
        return results.read(self._adapter, self.job_id)

    def __repr__(self) -> str:
        state = {True: "enqueued", False: "not enqueued", None: "waits for the commit"}[self.enqueued]
        return f"<Handle {self.name} {self.job_id} {state}>"

"""Batches as they are stored: which jobs belong together, and how each of them has ended.

There is a row for each job, and no count that goes down: what is told twice, by a retry, a duplicate or a worker that
comes back from the dead, counts once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from tenantjobs.adapter import keeper
from tenantjobs.errors import ConfigurationError

# What a row is of: a job of the batch, a batch in it, or a job that the batch calls back.
JOB, NESTED, CALLBACK = "job", "batch", "callback"
# How that stands. A callback is due when the batch has decided for it, and sent when a queue has it.
PENDING, DONE, FAILED, DUE, SENT = "pending", "done", "failed", "due", "sent"

CALLBACKS = ("on_success", "on_failure", "on_finish")


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that is to be stored. ``callbacks`` are links by their names; it is not ``closed`` while it is filled."""

    id: str
    tenant: str
    description: str | None
    properties: str  # JSON
    parent: str | None
    callbacks: dict[str, str]
    closed: bool
    failed: bool


class StoredBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it is stored."""

    id: str
    tenant: str
    description: str | None
    properties: str
    parent: str | None
    callbacks: dict[str, str]
    closed: bool
    failed_at: datetime | None
    finished_at: datetime | None


class Member(NamedTuple):
    """A row: a job, a batch or a callback, and the batch that it is of."""

    batch: str
    job: str
    kind: str = JOB


class Batches(Protocol):
    """Where batches are kept: beside the ledger of keys. ``on`` is a transaction that ``transaction()`` gave."""

    def joins(self, engine: object) -> bool:
        """True if batches are in the database of ``engine``, or of the connection that it is."""
        ...

    def transaction(self, connection: object | None = None) -> AbstractContextManager[Any]:
        """That of ``connection`` if it joins, whose owner commits; else one of their own, committed at its end."""
        ...

    def add(self, on: Any, batches: Sequence[NewBatch], members: Sequence[Member], state: str = PENDING) -> None:
        """Write what is not there yet."""
        ...

    def lock(self, on: Any, ids: Collection[str]) -> dict[str, StoredBatch]:
        """Those that are there, kept from changing until the transaction ends."""
        ...

    def mark(self, on: Any, members: Sequence[tuple[str, str]], state: str) -> None:
        """Say how jobs have ended, by batch and job. What is done stays done, and only what is due is sent."""
        ...

    def remove(self, on: Any, jobs: Collection[str]) -> set[str]:
        """Forget jobs that have not ended; the batches that they were in."""
        ...

    def forget(self, on: Any, ids: Collection[str]) -> None:
        """Forget whole batches, with their rows in the batches around them."""
        ...

    def is_busy(self, batch: str, on: Any = None) -> bool:
        """Whether something in the batch has not ended."""
        ...

    def has_failed(self, on: Any, batch: str) -> bool:
        """Whether something in the batch has failed."""
        ...

    def close(self, on: Any, batch: str) -> None:
        """It is filled."""
        ...

    def fail(self, on: Any, batch: str) -> None: ...
    def finish(self, on: Any, batch: str) -> None: ...

    def due(self, on: Any, batch: str) -> set[str]:
        """The callbacks that no queue has yet, by the ids of their jobs."""
        ...

    def read(self, batch: str) -> StoredBatch | None: ...

    def counts(self, batch: str) -> dict[str, int]:
        """How many jobs there are in each state."""
        ...


@runtime_checkable
class HasBatches(Protocol):
    """A queue that brings a place for batches along."""

    @property
    def batches(self) -> Batches: ...


def batches_for(what: str) -> Batches:
    """Where the configured adapter keeps batches; ``ConfigurationError`` naming ``what`` wants it, if it has none."""
    found = keeper(HasBatches)
    if isinstance(found, HasBatches):
        return found.batches
    raise ConfigurationError(
        f"{what}, and the adapter {type(found).__name__} has no ledger to count its jobs in: configure "
        f"adapter = 'db', or a database for the ledger in [db], or do without the batch"
    )

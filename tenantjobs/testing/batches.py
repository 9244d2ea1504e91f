"""Batches in the memory of this process, for the adapter ``test``."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from tenantjobs import clock
from tenantjobs.membership import CALLBACK, DONE, DUE, FAILED, JOB, PENDING, SENT, Member, NewBatch, StoredBatch


class MemoryBatches:
    """The contract of ``membership.Batches``, without a database to join."""

    def __init__(self) -> None:
        self._turn = threading.RLock()
        self._batches: dict[str, StoredBatch] = {}
        self._rows: dict[Member, str] = {}

    def joins(self, engine: object) -> bool:  # noqa: ARG002
        return False

    @contextmanager
    def transaction(self, connection: object | None = None) -> Iterator[Any]:  # noqa: ARG002
        with self._turn:
            yield None

    def add(self, on: Any, batches: Sequence[NewBatch], members: Sequence[Member], state: str = PENDING) -> None:  # noqa: ARG002
        for batch in batches:
            self._batches.setdefault(batch.id, _stored(batch))
        for member in members:
            self._rows.setdefault(member, state)

    def lock(self, on: Any, ids: Collection[str]) -> dict[str, StoredBatch]:  # noqa: ARG002
        return {id: self._batches[id] for id in ids if id in self._batches}

    def mark(self, on: Any, members: Sequence[tuple[str, str]], state: str) -> None:  # noqa: ARG002
        for member, before in self._rows.items():
            may_change = before == DUE if state == SENT else before != DONE
            if (member.batch, member.job) in members and may_change:
                self._rows[member] = state

    def remove(self, on: Any, jobs: Collection[str]) -> set[str]:  # noqa: ARG002
        left = [
            member
            for member, state in self._rows.items()
            if member.job in jobs and member.kind == JOB and state == PENDING
        ]
        for member in left:
            del self._rows[member]
        return {member.batch for member in left}

    def forget(self, on: Any, ids: Collection[str]) -> None:  # noqa: ARG002
        self._batches = {id: batch for id, batch in self._batches.items() if id not in ids}
        self._rows = {
            member: state for member, state in self._rows.items() if member.batch not in ids and member.job not in ids
        }

    def is_busy(self, batch: str, on: Any = None) -> bool:  # noqa: ARG002
        return PENDING in self._states(batch)

    def has_failed(self, on: Any, batch: str) -> bool:  # noqa: ARG002
        return any(
            state == FAILED and member.kind != CALLBACK
            for member, state in list(self._rows.items())
            if member.batch == batch
        )

    def close(self, on: Any, batch: str) -> None:  # noqa: ARG002
        self._change(batch, closed=True)

    def fail(self, on: Any, batch: str) -> None:  # noqa: ARG002
        self._change(batch, failed_at=clock.now())

    def finish(self, on: Any, batch: str) -> None:  # noqa: ARG002
        self._change(batch, finished_at=clock.now())

    def due(self, on: Any, batch: str) -> set[str]:  # noqa: ARG002
        return {member.job for member, state in self._rows.items() if member.batch == batch and state == DUE}

    def read(self, batch: str) -> StoredBatch | None:
        return self._batches.get(batch)

    def counts(self, batch: str) -> dict[str, int]:
        return Counter(self._states(batch, JOB))

    def _states(self, batch: str, *kinds: str) -> list[str]:
        rows = list(self._rows.items())
        return [state for member, state in rows if member.batch == batch and (not kinds or member.kind in kinds)]

    def _change(self, batch: str, **changes: Any) -> None:
        if batch in self._batches:
            self._batches[batch] = msgspec.structs.replace(self._batches[batch], **changes)


def _stored(batch: NewBatch) -> StoredBatch:
    return StoredBatch(
        id=batch.id,
        tenant=batch.tenant,
        description=batch.description,
        properties=batch.properties,
        parent=batch.parent,
        callbacks=batch.callbacks,
        closed=batch.closed,
        failed_at=clock.now() if batch.failed else None,
        finished_at=None,
    )

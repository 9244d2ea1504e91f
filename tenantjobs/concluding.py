"""The end of the jobs of a batch, and with them that of the batch: which callbacks are due is decided, and they leave.

A batch is decided about under the lock of its row, by one transaction. The callbacks are enqueued in it where the
queue, or an outbox on the way to it, is in the same database; elsewhere they are noted as due, and sent after it.
Whoever comes again, because a worker died in between, finds them due, and sends them under the same ids.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tenantjobs import adapter, faults, links, outbox
from tenantjobs.adapter import Adapter, HasTransactions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.handing import Sealed, hand_over
from tenantjobs.membership import CALLBACK, DONE, DUE, FAILED, SENT, Batches, Member, StoredBatch, batches_for
from tenantjobs.outbox import Outbox

logger = logging.getLogger("tenantjobs.batches")

Marks = Sequence[tuple[str, str]]  # batch and job


def is_concerned(envelope: Envelope) -> bool:
    """Whether a batch waits to hear how this job ends."""
    return "batch" in envelope.keys or "callback" in envelope.keys


def end(envelope: Envelope, state: str) -> None:
    """The job has ended, and is not performed any more. Said again, it changes nothing."""
    faults.point("before_batch")
    store = _store()
    with store.transaction() as on:
        store.mark(on, _marks(envelope, state), state)
    faults.point("before_conclusion")
    batch = envelope.keys.get("batch")
    if batch is not None and (state == FAILED or not store.is_busy(batch)):
        conclude(batch, failing=state == FAILED)


def end_within(envelope: Envelope, state: str, connection: object, target: Adapter) -> list[Sealed]:
    """The same by the commit of ``connection``, in which ``target`` is too; the callbacks that leave with it."""
    store = _store()
    batch = envelope.keys.get("batch")
    with store.transaction(connection) as on:
        if batch is not None:
            store.lock(on, [batch])  # before the row: of two that end at once, the second one sees the first
        store.mark(on, _marks(envelope, state), state)
        due = [] if batch is None else settle(store, on, batch, failing=state == FAILED)
        return _left(store, on, due, hand_over(due, target, connection))


def tell(batch: str, job: str, state: str | None) -> None:
    """The same for a job of which nothing but its id is known; None if it was taken back."""
    if state is None:
        leave([job])
        return
    store = _store()
    with store.transaction() as on:
        store.mark(on, [(batch, job)], state)
    conclude(batch, failing=state == FAILED)


def leave(jobs: Collection[str]) -> None:
    """Jobs that were taken back are no longer of their batches, which may have ended with that."""
    store = _store()
    with store.transaction() as on:
        left = store.remove(on, jobs)
    for batch in left:
        if not store.is_busy(batch):
            conclude(batch)


def conclude(batch: str, *, failing: bool = False) -> None:
    """Decide about a batch, and those around it, and send the callbacks that are due."""
    store, target = _store(), adapter.configured()
    sent: list[Sealed] = []
    with _transaction(store, target) as (on, writer):
        due = settle(store, on, batch, failing=failing)
        if writer is target:
            sent = _left(store, on, due, hand_over(due, target, on))
        elif due and writer is not None:
            writer.write_within(on, [job.seal() for job in due])
            sent = _left(store, on, due, due)
    if writer is target:
        for job in sent:
            job.sent()
    elif writer is not None and sent:
        for job in sent:
            job.sent()
        writer.publish([job.seal() for job in sent], target)
    elif due:
        sent = hand_over(due, target)
        faults.point("after_callback")
        with store.transaction() as on:
            _left(store, on, due, sent)
        for job in sent:
            job.sent()
    for job in due:
        if job.error is not None:
            end(job.seal(), FAILED)


def settle(store: Batches, on: Any, batch: str, *, failing: bool = False) -> list[Sealed]:
    """Decide about a batch and those around it in the transaction ``on``; the callbacks that no queue has yet."""
    due: list[Sealed] = []
    following: str | None = batch
    while following is not None:
        found = store.lock(on, [following]).get(following)
        if found is None:
            break
        failing = failing or store.has_failed(on, found.id)
        has_failed = failing or found.failed_at is not None
        ends = found.closed and found.finished_at is None and not store.is_busy(found.id, on)
        names = []
        if has_failed and found.failed_at is None:
            store.fail(on, found.id)
            names.append("on_failure")
        if ends:
            store.finish(on, found.id)
            names += ["on_finish"] if has_failed else ["on_success", "on_finish"]
        _note(store, on, found, names)
        due += _due(store, on, found)
        is_over = ends or found.finished_at is not None
        if found.parent is not None and is_over:
            store.mark(on, [(found.parent, found.id)], FAILED if has_failed else DONE)
        following = found.parent if is_over or failing else None
    return due


def _note(store: Batches, on: Any, batch: StoredBatch, names: Sequence[str]) -> None:
    """Have the callbacks of these names be due, and be jobs of the batch around it."""
    called = [links.opened(batch.callbacks[name]).id for name in names if name in batch.callbacks]
    store.add(on, [], [Member(batch.id, job, CALLBACK) for job in called], DUE)
    if batch.parent is not None:
        store.add(on, [], [Member(batch.parent, job) for job in called])


def _due(store: Batches, on: Any, batch: StoredBatch) -> list[Sealed]:
    ids = store.due(on, batch.id) if batch.callbacks else set()
    found = [links.opened(text) for text in batch.callbacks.values()] if ids else []
    return [Sealed(link.envelope()) for link in found if link.id in ids]


def _left(store: Batches, on: Any, due: Sequence[Sealed], sent: Sequence[Sealed]) -> list[Sealed]:
    """Note which callbacks have left, or never will; ``sent`` once more."""
    store.mark(on, [(job.seal().keys["callback"], job.job_id) for job in sent], SENT)
    refused = [(job.seal().keys["callback"], job.job_id) for job in due if job.error is not None]
    store.mark(on, refused, FAILED)
    return list(sent)


@contextmanager
def _transaction(store: Batches, target: Adapter) -> Iterator[tuple[Any, Any]]:
    """One of the queue's own if batches are in its database; else one of theirs. With what enqueues in it, if any."""
    if isinstance(target, HasTransactions):
        with target.transaction() as connection:
            if store.joins(connection):
                with store.transaction(connection) as on:
                    yield on, target
                return
    with store.transaction() as on:
        yield on, _outbox_in(on)


def _outbox_in(on: Any) -> Outbox | None:
    box = outbox.configured()
    return box if box is not None and box.joins(on) else None


def _marks(envelope: Envelope, state: str) -> Marks:
    keys = envelope.keys
    # What would have followed it in a chain does not take place.
    ended = [envelope.id, *(links.ids(envelope.chain) if state == FAILED else ())]
    marks = [(keys["batch"], job) for job in ended] if "batch" in keys else []
    return [*marks, (keys["callback"], envelope.id)] if "callback" in keys else marks


def _store() -> Batches:
    return batches_for("a job is of a batch")


def forget(envelope: Envelope) -> None:
    """A job that nobody here can perform: it counts as failed. What keeps that from being said is logged."""
    if not is_concerned(envelope):
        return
    try:
        end(envelope, FAILED)
    except ConfigurationError:  # there is no place for batches any more
        pass
    except Exception:
        logger.warning("the batch of job id=%s could not be told that it cannot run", envelope.id, exc_info=True)

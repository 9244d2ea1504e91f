"""What is asked and written before a job is handed to its queue: its lock, its permit, the rows of its batch."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tenantjobs import concluding, locks
from tenantjobs.adapter import Adapter, keeper
from tenantjobs.errors import EnqueueError
from tenantjobs.gathering import Gathering
from tenantjobs.handing import Sealed
from tenantjobs.locks import Wishing
from tenantjobs.membership import CALLBACK, FAILED, NESTED, SENT, Batches, HasBatches, Member, batches_for

logger = logging.getLogger("tenantjobs.batches")


class Admitted(Wishing, Protocol):
    """A job on its way to the queue."""

    @property
    def members(self) -> Sequence[str]:
        """The ids of the jobs that are of its batch with it: those that follow it in a chain, too."""
        ...

    def sent(self) -> None: ...
    def dropped(self, reason: str) -> None: ...


J = TypeVar("J", bound=Admitted)


def admit(jobs: Sequence[J], target: Adapter, connection: object | None = None) -> list[J | Sealed]:
    """Those that may be enqueued, and the callbacks of batches that have ended with the refusal of the others.

    In a transaction, ``connection`` is what the jobs are about to be written on.
    """
    replaced: list[str] = []
    admitted = locks.admit(jobs, target, connection, replaced)
    if replaced and connection is None and isinstance(keeper(HasBatches), HasBatches):
        concluding.leave(replaced)
    if any(job.batch is not None or job.called_back_by is not None for job in jobs):
        return _joined(jobs, admitted, connection)
    return list(admitted)


def enqueue_admitted(
    jobs: Sequence[Admitted], target: Adapter, connection: object | None = None
) -> Mapping[str, Exception]:
    """Hand them to the queue. A job that is refused has failed for its batch; if all are, there is no batch."""
    try:
        errors = locks.enqueue_admitted(jobs, target, connection)
    except BaseException:
        if connection is None:
            _logged(_undo, jobs)
        raise
    for job in jobs:
        if job.job_id in errors and job.batch is not None:
            _logged(concluding.end, job.seal(), FAILED)
    return errors


def _joined(jobs: Sequence[J], admitted: Sequence[J], connection: object | None) -> list[J | Sealed]:
    store = batches_for("a job is of a batch")
    gatherings = _gatherings(jobs)
    with store.transaction(connection) as on:
        new = [gathering for gathering in gatherings.values() if not gathering.is_known]
        store.add(on, [gathering.new() for gathering in new], [])
        over = _over(store, on, gatherings)
        joining = [job for job in admitted if job.batch is None or job.batch.id not in over]
        store.add(on, [], [*_nested(new, over), *_members(joining)])
        store.forget(on, [gathering.id for gathering in new if gathering.id in over])
        _note_called_back(store, on, joining)
        filled = {job.batch.id for job in joining if job.batch is not None}
        due: list[Sealed] = []
        for gathering in reversed(new):
            gathering.stored = gathering.over
            gathering.is_open_elsewhere = gathering.is_open_elsewhere or not gathering.over
            if gathering.over and gathering.id not in over | filled:
                due += concluding.settle(store, on, gathering.id)
        store.mark(on, [(job.seal().keys["callback"], job.job_id) for job in due], SENT)
    _refuse(job for job in admitted if job not in joining)
    return [*joining, *due]


def _gatherings(jobs: Iterable[Admitted]) -> dict[str, Gathering]:
    """The batches that the jobs are of, each behind those that it is nested in."""
    found: dict[str, Gathering] = {}
    for job in jobs:
        lineage = [] if job.batch is None else list(job.batch.ancestry())
        found |= {gathering.id: gathering for gathering in reversed(lineage)}
    return found


def _over(store: Batches, on: Any, gatherings: Mapping[str, Gathering]) -> set[str]:
    """Those that take no more jobs, because they have ended."""
    stored = store.lock(on, gatherings)
    over: set[str] = set()
    for id, gathering in gatherings.items():
        parent = None if gathering.parent is None else gathering.parent.id
        if id not in stored or stored[id].finished_at is not None or parent in over:
            over.add(id)
    return over


def _nested(new: Iterable[Gathering], over: Collection[str]) -> list[Member]:
    return [
        Member(gathering.parent.id, gathering.id, NESTED)
        for gathering in new
        if gathering.parent is not None and gathering.id not in over
    ]


def _members(jobs: Iterable[Admitted]) -> list[Member]:
    return [Member(job.batch.id, member) for job in jobs if job.batch is not None for member in job.members]


def _note_called_back(store: Batches, on: Any, jobs: Iterable[Admitted]) -> None:
    """Batches that were over at once, since nothing was enqueued in them: what leaves is what they call back."""
    for job in jobs:
        ended = job.called_back_by
        if ended is not None:
            store.add(on, [ended.new()], [])
            store.finish(on, ended.id)
            store.add(on, [], [Member(ended.id, job.job_id, CALLBACK)], SENT)
            ended.stored = True


def _refuse(jobs: Iterable[Admitted]) -> None:
    for job in jobs:
        assert job.batch is not None
        if locks.has_condition(job):
            locks.withdraw([job])
        job.refused(
            EnqueueError(
                f"job {job.name} id={job.job_id} was not enqueued: batch {job.batch.id} has ended, or was never "
                f"committed; make a new batch"
            )
        )


def _undo(jobs: Sequence[Admitted]) -> None:
    """None of them is in the queue: a batch that was made for them is not there either."""
    store = batches_for("a job is of a batch")
    gatherings = _gatherings(jobs)
    with store.transaction() as on:
        store.remove(on, [member for job in jobs for member in job.members])
    for gathering in reversed(gatherings.values()):
        if store.is_busy(gathering.id):
            continue
        if store.counts(gathering.id):
            concluding.conclude(gathering.id)
        else:
            with store.transaction() as on:
                store.forget(on, [gathering.id])
            gathering.stored = False


def _logged(function: Any, *args: Any) -> None:
    try:
        function(*args)
    except Exception:
        # Why the jobs did not get to the queue is what the caller has to know.
        logger.warning("a batch could not be told that jobs of it are not in the queue", exc_info=True)

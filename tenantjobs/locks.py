"""Locks: a key belongs to one job while that waits, or while it runs, and whoever comes second is told.

A lock is taken right before its job is handed to the queue: in the same transaction where both are in one database. Its
owner is the job, by its id, so that a message that comes again finds its own lock; it ends after a while in any case.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec

from tenantjobs import outbox, permits
from tenantjobs.adapter import Adapter, CancelsWithin, HasTransactions, enqueue_each
from tenantjobs.envelope import Envelope
from tenantjobs.errors import DuplicateJob, LimitReached
from tenantjobs.gathering import Gathering
from tenantjobs.permits import Reservation

logger = logging.getLogger("tenantjobs.locks")

OnConflict = Literal["discard", "raise", "replace"]


class Lock(msgspec.Struct, frozen=True):
    """A key for one job, whose id is ``owner``: free for anybody after ``seconds``, whatever became of the job."""

    tenant: str
    key: str
    owner: str
    seconds: float


class Locks(Protocol):
    """Where locks are kept: beside the ledger of keys."""

    @property
    def one_writer(self) -> bool:
        """True where one transaction that writes keeps all others from writing, as on SQLite."""
        ...

    def joins(self, engine: object) -> bool:
        """True if the locks are in the database of ``engine``, or of the connection that it is."""
        ...

    def lock(self, locks: Sequence[Lock], connection: object | None = None) -> Mapping[str, str]:
        """Take them all by one call, in the transaction of ``connection`` if it joins, else in one of their own.

        Gives the holder for each that another job has, both by the ids of jobs; of two in ``locks`` that want one key,
        the first gets it. An owner that has its lock already keeps it, for the new number of seconds.
        """
        ...

    def unlock(self, locks: Sequence[Lock], connection: object | None = None) -> None:
        """Free those that their owners still have."""
        ...


class Wish(NamedTuple):
    """The lock without which a job is not enqueued."""

    locks: Locks
    lock: Lock
    on_conflict: OnConflict


class Wishing(Protocol):
    """A job on its way to the queue, which may have to be the only one of its key. Its envelope is sealed by now."""

    @property
    def name(self) -> str: ...
    @property
    def job_id(self) -> str: ...
    @property
    def wish(self) -> Wish | None: ...
    @property
    def reservation(self) -> Reservation | None: ...
    @property
    def batch(self) -> Gathering | None:
        """The batch that it is to be of."""
        ...

    @property
    def called_back_by(self) -> Gathering | None:
        """The batch whose callback it is."""
        ...

    def seal(self) -> Envelope: ...
    def locked(self, *, apart: bool) -> None: ...
    def refused(self, error: Exception) -> None: ...


J = TypeVar("J", bound=Wishing)


def admit(
    jobs: Sequence[J], target: Adapter, connection: object | None = None, replaced: list[str] | None = None
) -> list[J]:
    """Those that may be enqueued, with the locks and the permits that they want; the others are told why not.

    In a transaction, ``connection`` is what the jobs are about to be written on. ``replaced`` gets the ids of those
    that were taken back for them.
    """
    return _with_permits(_with_locks(jobs, target, connection, replaced), connection)


def has_condition(job: Wishing) -> bool:
    """True if more is to be asked or written than the job: a lock, a permit, the rows of a batch."""
    return any(each is not None for each in (job.wish, job.reservation, job.batch, job.called_back_by))


def _with_locks(jobs: Sequence[J], target: Adapter, connection: object | None, replaced: list[str] | None) -> list[J]:
    wishes = {job.job_id: wish for job in jobs if (wish := job.wish) is not None}
    if not wishes:
        return list(jobs)
    locks = next(iter(wishes.values())).locks
    superseded = _superseded(wishes)
    wanted = {owner: wish for owner, wish in wishes.items() if owner not in superseded}
    holders = dict(locks.lock([wish.lock for wish in wanted.values()], connection))
    replacing = [
        wanted[owner].lock
        for owner, holder in holders.items()
        if wanted[owner].on_conflict == "replace" and _take_back(holder, target, connection)
    ]
    if replacing:
        _free_places(jobs, [holders[lock.owner] for lock in replacing], connection)
        if replaced is not None:
            replaced += [holders[lock.owner] for lock in replacing]
        locks.unlock([msgspec.structs.replace(lock, owner=holders.pop(lock.owner)) for lock in replacing], connection)
        holders |= locks.lock(replacing, connection)
    holders |= superseded
    apart = connection is None or not locks.joins(connection)
    for job in jobs:
        if job.job_id in holders:
            job.refused(_duplicate(job, wishes[job.job_id].lock, holders[job.job_id]))
        elif job.job_id in wishes:
            job.locked(apart=apart)
    return [job for job in jobs if job.job_id not in holders]


def _free_places(jobs: Sequence[J], taken_back: Sequence[str], connection: object | None) -> None:
    """Those that the jobs which were taken back had reserved: their successors are to have them."""
    reservation = next((job.reservation for job in jobs if job.reservation is not None), None)
    if reservation is not None:
        reservation.permits.forsake(taken_back, connection)


def _with_permits(jobs: Sequence[J], connection: object | None) -> list[J]:
    refused = permits.reserve(jobs, connection)
    for job in jobs:
        if job.job_id in refused:
            if (wish := job.wish) is not None:
                wish.locks.unlock([wish.lock], connection)
            job.refused(_too_many(job, refused[job.job_id]))
        elif (reservation := job.reservation) is not None:
            job.locked(apart=connection is None or not reservation.permits.joins(connection))
    return [job for job in jobs if job.job_id not in refused]


@contextmanager
def in_one_transaction(
    jobs: Sequence[Wishing], target: Adapter, connection: object | None = None
) -> Iterator[object | None]:
    """The connection to take locks and to enqueue on, where both are in one database: a crash leaves both or neither.

    None where they are not, and for jobs that want none and are of no batch. ``connection`` if there is one already.
    """
    if connection is not None:
        yield connection
    elif isinstance(target, HasTransactions) and any(map(has_condition, jobs)):
        with target.transaction() as connection:
            yield connection
    else:
        yield None


def enqueue_admitted(
    jobs: Sequence[Wishing], target: Adapter, connection: object | None = None
) -> Mapping[str, Exception]:
    """Hand them to the queue as ``adapter.enqueue_each`` does. A job that does not get there frees its lock."""
    if not jobs:
        return {}
    envelopes = [job.seal() for job in jobs]
    if connection is not None and isinstance(target, HasTransactions):
        target.enqueue_within(connection, envelopes)
        return {}
    try:
        errors = enqueue_each(target, envelopes)
    except BaseException:
        withdraw(jobs)
        raise
    withdraw(job for job in jobs if job.job_id in errors)
    return errors


def withdraw(jobs: Iterable[Wishing]) -> None:
    """Free the locks and the permits of jobs that are not in the queue after all."""
    jobs = list(jobs)
    wishes = [wish for job in jobs if (wish := job.wish) is not None]
    if wishes:
        free(wishes[0].locks, *(wish.lock for wish in wishes))
    reservations = [reservation for job in jobs if (reservation := job.reservation) is not None]
    if reservations:
        permits.release(reservations[0].permits, *(reservation.request for reservation in reservations))


def free(locks: Locks, *held: Lock) -> None:
    """Give locks back; what keeps them from that is logged, since they end by themselves."""
    try:
        if held:
            locks.unlock(held)
    except Exception:
        logger.warning("the locks %s could not be freed; they end by themselves", held, exc_info=True)


def _superseded(wishes: Mapping[str, Wish]) -> dict[str, str]:
    """Jobs that are to be replaced by a later one among the same, with the id of that."""
    latest = {_place(wish): owner for owner, wish in wishes.items() if wish.on_conflict == "replace"}
    return {
        owner: latest[_place(wish)]
        for owner, wish in wishes.items()
        if wish.on_conflict == "replace" and latest[_place(wish)] != owner
    }


def _take_back(job_id: str, target: Adapter, connection: object | None) -> bool:
    """Whether the holder of a lock waited in the queue, and does so no more."""
    if connection is None:
        return outbox.take_back(job_id, target)
    # By the transaction of its successor, so that one of them is there whatever becomes of that.
    return isinstance(target, CancelsWithin) and target.cancel_within(connection, job_id)


def _duplicate(job: Wishing, lock: Lock, holder: str) -> DuplicateJob:
    return DuplicateJob(
        f"job {job.name} id={job.job_id} was not enqueued: job id={holder} has its key {lock.key} of tenant "
        f"{lock.tenant or None} until that is done with it"
    )


def _too_many(job: Wishing, request: permits.Request) -> LimitReached:
    return LimitReached(
        f"job {job.name} id={job.job_id} was not enqueued: as many with the key {request.key} as may run at once, "
        f"{request.of}, run or wait already, and it is not to wait for one of them"
    )


def _place(wish: Wish) -> tuple[str, str]:
    return wish.lock.tenant, wish.lock.key

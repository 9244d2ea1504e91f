"""One attempt of a job: restored, behind its key, in its session, and what is decided about it.

restored ids { key guards { verdict { session {
    locate tenant { locate arguments { state guards { hooks { run }}}} complete, commit }}}}

The order is the design. Restoring does no I/O, so every handler knows the tenant's id, even of a tenant that is
gone; locating is inside the verdict, so that what is gone can be discarded. The way is written once, as a coroutine:
for a synchronous job nothing in it ever suspends, and it is driven without a loop.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import msgspec

from tenantjobs import (
    batches,
    clock,
    encryption,
    faults,
    following,
    holding,
    identity,
    limiting,
    replays,
    results,
    sentinel,
    tenants,
    tombstones,
)
from tenantjobs.arguments import Thawed, thaw
from tenantjobs.body import in_time, run
from tenantjobs.colours import Colour
from tenantjobs.completing import AlreadyDone, Completion
from tenantjobs.course import Course, Resumption
from tenantjobs.current import Current, Snapshot
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import (
    ArgumentError,
    Cancelled,
    Interruption,
    KeyTaken,
    LeaseLost,
    LedgerUnavailable,
    Undecipherable,
)
from tenantjobs.following import Following
from tenantjobs.holding import Holding
from tenantjobs.idempotency import idempotent, ledger_for
from tenantjobs.keyed import Key, behind_key
from tenantjobs.limiting import Limiting
from tenantjobs.outcome import Discarded, Finished, Outcome, Quarantined, Retried
from tenantjobs.replays import Replays
from tenantjobs.running import RetryAsked, context_of, is_cancelled, running
from tenantjobs.tenancy import refuse_foreign, require_scope, system_scope
from tenantjobs.verdict import again, verdict

logger = logging.getLogger("tenantjobs.attempt")

identity.register(batches.locator)  # a callback may be given its batch

REPLAYED = "it was delivered again, and its effect is there already"
KEY_BUSY = "another one is at work on its key"
CANCELLED = "cancelled while it ran"
KEY_RETRY = 5.0  # seconds until a job asks again for a key that another one holds

# Whoever finds a batch over sends its callback, so that it may be sent twice: it is behind a key of its own.
CALLED_BACK_ONCE = idempotent(ttl=timedelta(days=30))


class Delivery(Protocol):
    """What a worker knows beyond the data; as a text, which job it is."""

    def verify(self, envelope: Envelope) -> None:
        """``EnvelopeError`` if it is not the envelope that was to come: another job's, or another tenant's."""
        ...

    def lost(self) -> bool:
        """True once another worker may own the job: its work is rolled back then."""
        ...


class Unread(Exception):
    """Arguments that cannot be opened: no handler of the job is asked, for nothing of it has run."""

    def __init__(self, error: Undecipherable) -> None:
        super().__init__(str(error))
        self.error = error


class Attempt:
    """One run of ``job``, which is charged to ``envelope`` unless it is interrupted."""

    def __init__(self, envelope: Envelope, job: Definition, io: Colour, delivery: Delivery | None) -> None:
        self.job = job
        self.io = io
        self.delivery = delivery
        self._envelope = envelope = envelope.charged(1)
        self._led_by: tuple[Any, ...] | None = None
        self._course = Course(job, io, envelope, delivery)
        self.context = context_of(envelope, envelope.attempt, self._course.resumptions)
        # What a job does not have costs it nothing: most have none of these.
        remembered = replays.remembered_for(delivery)
        self._replays = Replays(envelope, io, remembered) if remembered else None
        self._may_be_late = tombstones.may_stand_for(envelope, delivery)
        self._limit = Limiting(envelope, job, io, delivery) if limiting.concerns(envelope, job) else None
        self._locks = Holding(envelope, job, io, self._is_lost) if holding.concerns(envelope) else None
        self._following = Following(envelope, self.context, io) if following.concerns(envelope) else None
        if self._limit is not None:
            self._course.before_commit = self._limit.keep

    @property
    def envelope(self) -> Envelope:
        """The job as it stands: with the steps that are done by now."""
        bookmark = self._course.bookmark
        return self._envelope if bookmark is None else msgspec.structs.replace(self._envelope, bookmark=bookmark)

    async def outcome(self) -> Outcome:
        """What came of it. ``LeaseLost`` is raised as it is, and so is an ``Interruption`` before any checkpoint."""
        with sentinel.performing(self.context), Current.restored(self._snapshot), running(self.context, self.delivery):
            if self._replays is None:
                return await self._followed()
            return await self._replays.around(self._followed)

    async def _followed(self) -> Outcome:
        attempt = self._answered
        if self._locks is not None:
            attempt = partial(self._locks.around, attempt)
        if self._limit is not None:
            attempt = partial(self._limit.around, attempt)
        outcome = await attempt()
        if self._replays is not None and self._replays.refused:
            return outcome  # whoever noted that the job has ended, and perhaps not well, has told what follows before
        if self._following is not None:
            outcome = await self._following.after(outcome, self.envelope)
        if self._course.is_kept_beside and isinstance(outcome, Finished | Discarded):
            await self._course.forget()
        return outcome

    async def _answered(self) -> Outcome:
        try:
            with self.io.stoppable(self.delivery):
                outcome = await self._answer()
        except BaseException as error:
            if not is_cancelled(self.delivery) or not (isinstance(error, Cancelled) or self.io.was_stopped(error)):
                raise
            return Discarded(CANCELLED)
        if isinstance(outcome, Retried) and is_cancelled(self.delivery):
            return Discarded(CANCELLED, outcome.error)
        return outcome

    async def _answer(self) -> Outcome:
        try:
            return await self._decided()
        except RetryAsked as asked:
            return again(self.envelope, asked)
        except Cancelled:
            raise
        except Interruption as interruption:
            # The queue still has the job as it came, and where it stands now is to travel.
            if not (self._course.has_advanced or isinstance(interruption, Resumption)):
                raise
            return self._uncharged(0, f"interrupted: {interruption}")

    async def _decided(self) -> Outcome:
        try:
            if self._may_be_late:
                await tombstones.refuse(self._envelope.tenant_id or "", self.io)
            if self._replays is not None:
                await self._replays.refuse()
            if self._limit is not None and (kept_out := await self._limit.enter()) is not None:
                return kept_out
            if self._locks is not None:
                await self._locks.enter()
            policy = self._key_guard
            return await (self._work(None) if policy is None else self._behind_key(policy))
        except (KeyTaken, LedgerUnavailable) as kept_out:
            return self._uncharged(KEY_RETRY, str(kept_out))
        except tombstones.Unanswered as unanswered:
            return self._uncharged(KEY_RETRY, str(unanswered))
        except AlreadyDone:
            return Finished(note=REPLAYED)
        except Unread as unread:
            return Quarantined(unread.error)
        except BaseException as error:
            if not self.io.is_failure(error):
                raise
            return await verdict(self.envelope, self.job, self.io, error, self._subject)

    @property
    def _key_guard(self) -> idempotent | None:
        policy = self.job.idempotent
        return CALLED_BACK_ONCE if policy is None and "callback" in self._envelope.keys else policy

    async def _behind_key(self, policy: idempotent) -> Outcome:
        ledger = ledger_for(f"job {self.job.name} is @idempotent")
        key = Key(ledger, self.envelope.tenant_id or "", self._key)
        finished = await behind_key(policy, self.io, key=key, owner=self.envelope.id, work=lambda: self._work(key))
        return self._uncharged(min(policy.lease, KEY_RETRY), KEY_BUSY) if finished == "running" else finished

    async def _work(self, key: Key | None) -> Finished:
        """One transaction: locate, load, run, complete key and job. The exit of the session is the commit."""
        job, io = self.job, self.io
        completion = Completion(self.envelope, job, io, self.delivery) if job.transactional else None
        async with io.session(job) as session:
            self._course.session = session
            if completion is not None and await completion.is_known(session):
                finished = Finished(note=REPLAYED)
                completion = None
            else:
                run = self._run_with_records
                finished = await (run() if job.timeout is None else in_time(job, io, run))
            joined = key is not None and session is not None and await io.settle(session.run(key.complete_within))
            if self._is_lost():
                raise LeaseLost(f"job {job.name} id={self.envelope.id} belongs to another worker by now")
            if self._limit is not None:
                await self._limit.keep()
            if completion is not None:
                completion.with_commit(session, finished)
                if self._locks is not None:
                    self._locks.free_with_commit(session)
                if self._following is not None:
                    self._following.with_commit(session)
            faults.point("before_commit")
        faults.point("after_commit")
        if key is not None and not joined:
            await io.blocking(key.complete)
        return finished if completion is None else completion.settled(finished)

    def _is_lost(self) -> bool:
        return self.delivery is not None and self.delivery.lost()

    async def _run_with_records(self) -> Finished:
        await self._locate()
        args, kwargs = await self._load()
        faults.point("after_load")
        self._course.begin()
        with self._course:
            finished = await run(self.job, (*self._leading, *args), kwargs, self.io)
        self._course.end()
        return finished if not self.job.keep_result else await self._with_result(finished)

    async def _with_result(self, finished: Finished) -> Finished:
        if finished.note is not None:  # it was skipped, and has returned nothing
            return finished
        # Before the commit: what cannot be kept has the work rolled back, and a keyring may take its time.
        result = await self.io.blocking(results.sealed, finished.value, self._envelope)
        return msgspec.structs.replace(finished, result=result)

    async def _locate(self) -> None:
        snapshot = self._envelope.snapshot
        if snapshot.scope == "unset":
            require_scope(self.job, "performed")
        if snapshot.tenant_id is not None and tenants.are_known():
            await self.io.locate_tenant()
        if snapshot.attributes:
            await self.io.load_attributes()

    async def _load(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            thawed = thaw(self._envelope.arguments, self.job.types)
        except ArgumentError:  # those that are encrypted cannot be read, and those that are not need not be asked first
            if not encryption.is_sealed(self._envelope):
                raise
            thawed = await self._opened()
        records = {}
        for reference in thawed.references:
            record = await self.io.locate(reference)
            refuse_foreign(self.job, record, self.envelope.tenant_id)
            records[reference] = record
        return thawed.fill(records)

    async def _opened(self) -> Thawed:
        try:
            return thaw(await self.io.blocking(encryption.opened, self._envelope), self.job.types)
        except Undecipherable as error:
            raise Unread(error) from error

    @property
    def _leading(self) -> tuple[Any, ...]:
        """The object of a ``Job`` class: one for all that is called in this attempt."""
        if self._led_by is None:
            self._led_by = self.job.leading()
        return self._led_by

    def _subject(self) -> object:
        """What handlers are told of the job."""
        return self._leading[0] if self.job.has_object else self.context

    @property
    def _snapshot(self) -> Snapshot:
        found = self.envelope.snapshot
        if self.job.tenancy == "none" and found.scope == "unset":
            return system_scope(self.job, found)  # enqueued before the job said that it is for no tenant
        return found

    @property
    def _key(self) -> str:
        key = self.envelope.keys.get("idempotent")
        if key is not None:
            return key
        if self.job.idempotent is None:
            return f"callback:{self.envelope.id}"
        logger.warning(
            "job %s id=%s was enqueued before it was @idempotent: its id is its key", self.job.name, self.envelope.id
        )
        return f"{self.job.name}:{self.envelope.id}"

    def _uncharged(self, seconds: float, note: str) -> Retried:
        """Nothing has failed: the job comes back, and its attempt is not charged."""
        return Retried(self.envelope.charged(-1), clock.now() + timedelta(seconds=seconds), note=note)

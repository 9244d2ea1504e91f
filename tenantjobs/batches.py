"""A batch as its users have it: what it is, how far it has come, and more jobs for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from tenantjobs import adapter, enqueuing, identity, runtime
from tenantjobs.call import Call
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, EnqueueError, RecordGone, TenantMissing
from tenantjobs.gathering import Gathering
from tenantjobs.handle import Handle
from tenantjobs.identity import GlobalId
from tenantjobs.membership import DONE, FAILED, PENDING, StoredBatch, batches_for
from tenantjobs.message import Message
from tenantjobs.running import current_job


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch has come: its jobs, without those of batches that are nested in it."""

    total: int
    done: int
    failed: int
    finished: bool

    @property
    def pending(self) -> int:
        return self.total - self.done - self.failed


class Batch:
    """Jobs that belong together. It can be the argument of a job.

    ``total``, ``done``, ``failed`` and ``pending`` count its jobs as they are now, ``finished`` is True once all of
    them, and all batches nested in it, have ended; each is a look into the database, ``state()`` one for all of them.
    """

    def __init__(self, gathering: Gathering, stored: StoredBatch | None = None) -> None:
        self.gathering = gathering
        self._stored = stored

    @classmethod
    def find(cls, batch_id: str) -> Batch | None:
        """The batch of the current tenant with this id, any batch under ``Current.system``; None if there is none."""
        if Current.scope == "unset" and runtime.settings().tenancy == "required":
            raise TenantMissing(
                f"Batch.find({batch_id!r}) without a tenant: set one around it (with Current.set(tenant=...)), or look "
                f"among those of all tenants (with Current.system('why'))"
            )
        found = _read(batch_id)
        if found is None or (Current.scope != "system" and found.tenant_id != Current.tenant_id):
            return None
        return found

    @classmethod
    async def afind(cls, batch_id: str) -> Batch | None:
        """The same, without blocking the event loop."""
        found: Batch | None = await in_thread(cls.find, batch_id)
        return found

    @property
    def id(self) -> str:
        return self.gathering.id

    @property
    def tenant_id(self) -> str | None:
        """The tenant that made it; None for one of the system."""
        return self.gathering.tenant_id if self._stored is None else self._stored.tenant or None

    @property
    def description(self) -> str | None:
        return self.gathering.description if self._is_made_here else self._found().description

    @property
    def properties(self) -> Mapping[str, Any]:
        """What was said of it when it was made."""
        text = self.gathering.properties if self._is_made_here else self._found().properties
        properties: Mapping[str, Any] = msgspec.json.decode(text)
        return properties

    @property
    def total(self) -> int:
        return self.state().total

    @property
    def done(self) -> int:
        return self.state().done

    @property
    def failed(self) -> int:
        return self.state().failed

    @property
    def pending(self) -> int:
        return self.state().pending

    @property
    def finished(self) -> bool:
        return self.state().finished

    def state(self) -> BatchState:
        """How far it has come. What waits for a commit, or for the end of the block, is known to who made the batch."""
        filled = self.gathering
        waiting = sum(len(job.members) for job in filled.noted if job.pending and job.batch is filled)
        store = batches_for("a batch")
        # What only a transaction of this context could have written by now is not looked for past it.
        stored = store.read(self.id) if filled.stored or filled.is_open_elsewhere else None
        counts = {} if stored is None else store.counts(self.id)
        done, failed = counts.get(DONE, 0), counts.get(FAILED, 0)
        total = counts.get(PENDING, 0) + done + failed + waiting
        return BatchState(
            total=total, done=done, failed=failed, finished=stored is not None and stored.finished_at is not None
        )

    async def astate(self) -> BatchState:
        """The same, without blocking the event loop."""
        state: BatchState = await in_thread(self.state)
        return state

    def add(self, *calls: Call) -> list[Handle]:
        """Enqueue more jobs of the batch: from its own jobs, or from anywhere while it has not ended.

        With the open transaction, if there is one. ``EnqueueError`` if the batch has ended.
        """
        return _checked(enqueuing.leave_all(*self._made(calls)))

    async def aadd(self, *calls: Call) -> list[Handle]:
        """The same, without blocking the event loop."""
        return _checked(await enqueuing.aleave_all(*self._made(calls)))

    def _made(self, calls: Sequence[Call]) -> tuple[list[Message], adapter.Adapter]:
        target = adapter.configured()
        for call in calls:
            given: object = call
            if not isinstance(given, Call):
                raise ConfigurationError(f"add takes calls of jobs, as in batch.add(send.call(7)), not {given!r:.120}")
        return [Message(call, target, batch=self.gathering) for call in calls], target

    @property
    def _is_made_here(self) -> bool:
        return not self.gathering.found

    def _found(self) -> StoredBatch:
        if self._stored is None:
            self._stored = batches_for("a batch").read(self.id)
        if self._stored is None:
            raise RecordGone(f"batch {self.id} is not there any more")
        return self._stored

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Batch {self.id} tenant={self.tenant_id}>"


def current_batch() -> Batch | None:
    """The batch that the running job is of; in a callback, the batch that calls back. None elsewhere."""
    job = current_job()
    if job is None or job.batch_id is None:
        return None
    return Batch(Gathering(job.batch_id, None, over=True))


class BatchLocator:
    """Batches as arguments of jobs."""

    def identify(self, record: object) -> GlobalId | None:
        return GlobalId("tenantjobs", "Batch", (record.id,)) if isinstance(record, Batch) else None

    def model_of(self, cls: type) -> str | None:
        return "Batch" if cls is Batch else None

    def knows(self, gid: GlobalId) -> bool:
        return (gid.app, gid.model) == ("tenantjobs", "Batch")

    def locate(self, gid: GlobalId) -> object:
        found = _read(gid.key[0])
        if found is None:
            raise RecordGone(f"batch {gid.key[0]} is not there any more")
        return found

    async def alocate(self, gid: GlobalId) -> object:
        return await in_thread(self.locate, gid)

    def tenant_of(self, record: object) -> str | None:
        return record.tenant_id if isinstance(record, Batch) else None


def _read(batch_id: str) -> Batch | None:
    stored = batches_for("a batch").read(batch_id)
    if stored is None:
        return None
    return Batch(Gathering(stored.id, stored.tenant or None, over=True), stored)


def _checked(handles: list[Handle]) -> list[Handle]:
    for handle in handles:
        error = handle.enqueue_error
        if type(error) is EnqueueError:
            raise error
    return handles


async def in_thread(function: Any, *args: Any) -> Any:
    """Call ``function`` without blocking the event loop."""
    # asyncio is loaded by whoever runs a loop; importing it here would cost every importer of tenantjobs.
    return await import_module("asyncio").to_thread(function, *args)


locator = BatchLocator()
identity.register(locator)

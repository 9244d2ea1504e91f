"""A batch while it is filled: the block of this context that gathers jobs, and what it knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import msgspec

from tenantjobs.envelope import Envelope
from tenantjobs.errors import CrossTenantSwitch
from tenantjobs.membership import NewBatch


class Gathers(Protocol):
    """A job that is gathered."""

    @property
    def name(self) -> str: ...
    @property
    def members(self) -> Sequence[str]: ...
    @property
    def pending(self) -> bool:
        """True until it is known whether it has been enqueued."""
        ...

    @property
    def refused_or_dropped(self) -> bool: ...
    def give_up(self, reason: str) -> None: ...


class Callback(Protocol):
    """A job that is sealed, and enqueued by its batch."""

    def seal(self) -> Envelope: ...
    def link(self) -> msgspec.Raw: ...


class Gathering:
    """One batch, as this process makes it or has found it.

    ``over``: its block has ended. ``stored``: it was written after that. ``is_open_elsewhere``: it was written before
    that, perhaps in a transaction that was never committed. ``found``: it was made somewhere else.
    """

    def __init__(
        self,
        id: str,
        tenant_id: str | None,
        *,
        description: str | None = None,
        properties: str = "{}",
        parent: Gathering | None = None,
        over: bool = False,
    ) -> None:
        self.id = id
        self.tenant_id = tenant_id
        self.description = description
        self.properties = properties
        self.parent = parent
        self.callbacks: Mapping[str, Callback] = {}
        self.over = self.stored = self.found = over
        self.is_open_elsewhere = False
        self.gave_up = False
        self.noted: list[Gathers] = []  # all jobs
        self.kept: list[Gathers] = []  # those of them that wait for the end of the block

    @property
    def is_known(self) -> bool:
        """True once its row is somebody else's to write: there it is, or it was never committed."""
        return self.over and self.stored

    def refuse_foreign(self, job: str, tenant_id: str | None) -> None:
        """``CrossTenantSwitch`` for a job of another tenant than the batch."""
        if self.tenant_id is not None and tenant_id not in (None, self.tenant_id):
            raise CrossTenantSwitch(
                f"job {job} of tenant {tenant_id} does not belong into a batch of tenant {self.tenant_id}: enqueue it "
                f"outside of the batch, or make the batch under Current.system(...)"
            )

    def new(self) -> NewBatch:
        """What is to be written of it."""
        return NewBatch(
            id=self.id,
            tenant=self.tenant_id or "",
            description=self.description,
            properties=self.properties,
            parent=None if self.parent is None else self.parent.id,
            callbacks={name: bytes(callback.link()).decode() for name, callback in self.callbacks.items()},
            closed=self.over,
            failed=self.gave_up,
        )

    def ancestry(self) -> Iterator[Gathering]:
        """The batch, and those that it is nested in."""
        found: Gathering | None = self
        while found is not None:
            yield found
            found = found.parent


def current() -> Gathering | None:
    """The innermost block of this context that has not ended."""
    found = _gathering.get()
    # What was started in a block, as a task, has a copy of the context, and may outlive the block.
    return next((each for each in found.ancestry() if not each.over), None) if found is not None else None


@contextmanager
def filling(gathering: Gathering) -> Iterator[None]:
    """The block."""
    token = _gathering.set(gathering)
    try:
        yield
    finally:
        _gathering.reset(token)


def kept(jobs: Sequence[Gathers], batch: Gathering | None) -> bool:
    """Whether the block of ``batch`` has taken the jobs, to be enqueued at its end."""
    if batch is None or batch.over:
        return False
    batch.kept += jobs
    return True


_gathering: ContextVar[Gathering | None] = ContextVar("tenantjobs_gathering", default=None)

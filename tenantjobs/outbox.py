"""The outbox: jobs that are written in the application's own transaction, and published to a queue elsewhere after it.

``outbox = true`` asks for it. The table is one of those that the adapter ``db`` keeps, in the database of
``[db] engine``; it is reached as a protocol, whatever the adapter is that jobs are published to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tenantjobs import adapter, runtime
from tenantjobs.adapter import Adapter, Cancels
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, UnsupportedCapability

KEEPER = "db"  # the adapter whose tables may lie in the application's database


@runtime_checkable
class Outbox(Protocol):
    """Jobs on their way from a transaction to a queue that is not part of it."""

    def joins(self, engine: object) -> bool:
        """True if the outbox is in the database of ``engine``, or of the connection that it is."""
        ...

    def write_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        """Write the jobs by one statement on ``connection``; its owner commits, and then publishes them."""
        ...

    def publish(self, envelopes: Sequence[Envelope], target: Adapter) -> None:
        """Send jobs that were just committed to ``target``. Never raises: what fails is left to the relay."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Take a job back that waits for a relay: True if it was still there, and nobody was publishing it."""
        ...


@runtime_checkable
class HasOutbox(Protocol):
    """An adapter that keeps an outbox in the application's database."""

    @property
    def outbox(self) -> Outbox: ...


def take_back(job_id: str, target: Adapter) -> bool:
    """Take a job back from the outbox, or from the queue: True if it will not run."""
    box = configured()
    if box is not None and box.cancel(job_id):
        return True
    adapter.require(target, "cancel", f"cancelling job {job_id}")
    if not isinstance(target, Cancels):
        raise UnsupportedCapability(f"{type(target).__name__} declares 'cancel' but has no cancel()")
    return target.cancel(job_id)


def configured() -> Outbox | None:
    """The outbox, if the configuration asks for one; ConfigurationError if it asks for one that cannot be."""
    settings = runtime.settings()
    if not settings.outbox:
        return None
    if settings.adapter == "inline":
        raise ConfigurationError(
            "outbox = true, and the adapter 'inline' has no queue to publish to: it performs each job right after the "
            "commit. Leave outbox out, or configure another adapter"
        )
    keeper = adapter.built(KEEPER)
    assert isinstance(keeper, HasOutbox), "the adapter 'db' keeps the outbox"
    return keeper.outbox

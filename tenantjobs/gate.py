"""Gate mode: jobs wait in our table, where tenants take turns, and only a few at a time in the queue of a broker.

The section ``[gate]`` asks for it, beside ``adapter = "db"``. What passes the broker is a ticket: an envelope with the
id of a job and nothing of what it carries. Whoever is given one performs the job from its row, and settles it there, so
that a message that comes twice, or is lost, has no effect of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from tenantjobs import adapter, clock, runtime
from tenantjobs.adapter import Adapter, Works
from tenantjobs.config.settings import GateSettings
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnvelopeError
from tenantjobs.snapshot import Snapshot

KEEPER = "db"  # the adapter in whose table jobs wait

NOTHING = msgspec.Raw(b"{}")

# A worker that knows nothing of the gate takes a ticket for a job that it does not know, and runs nothing.
PREFIX = "gate:"


class Gate(Protocol):
    """The table behind the gate."""

    def perform(self, job_id: str, stopping: Callable[[], bool]) -> None:
        """Perform the job that was let through, and settle it; nothing if it was not, or is somebody else's by now."""
        ...

    def leave(self) -> None:
        """This process performs nothing more for now."""
        ...


@runtime_checkable
class HasGate(Protocol):
    """An adapter in whose table jobs may wait for a broker."""

    @property
    def gate(self) -> Gate: ...


class Ticket(NamedTuple):
    """What a message says: which job may be performed."""

    gate: Gate
    job_id: str

    def perform(self, stopping: Callable[[], bool] | None) -> None:
        self.gate.perform(self.job_id, stopping or _never)


def settings() -> GateSettings | None:
    """The section ``[gate]``; None if there is none, ConfigurationError if it cannot be."""
    found = runtime.settings()
    if found.gate is None:
        return None
    if found.adapter != KEEPER:
        raise ConfigurationError(
            f"[gate] lets jobs of our table through to {found.gate.adapter}, and adapter = {found.adapter!r} keeps "
            f'none: write adapter = "{KEEPER}"; jobs are enqueued there, and performed by workers of '
            f"{found.gate.adapter}"
        )
    if found.gate.adapter == KEEPER:
        place = found.origins.get("gate.adapter", "[gate] adapter")
        raise ConfigurationError(
            f'{place}: [gate] adapter = "{KEEPER}" is the table that jobs wait in, which its own workers serve fairly: '
            f"name the broker that they go to, or leave [gate] out"
        )
    return found.gate


def target() -> Adapter:
    """The adapter of the broker."""
    return adapter.built(_required().adapter)


def workers() -> Works:
    """The same, whose workers perform what it lets through; ConfigurationError if it has none."""
    found = target()
    if not isinstance(found, Works):
        raise ConfigurationError(
            f"[gate] adapter = {_required().adapter!r} has no workers that could perform what the gate lets through: "
            f"name celery, dramatiq, rq or another queue that has"
        )
    return found


def ticket(job_id: str, name: str, *, queue: str, tenant: str, number: int) -> Envelope:
    """The ``number``-th ticket of a job, from 0 on. Turns were taken before: in the broker, all are alike."""
    return Envelope(
        id=job_id,
        name=f"{PREFIX}{name}",
        queue=queue,
        context=msgspec.Raw(Snapshot(tenant_id=tenant or None).encode()),
        arguments=NOTHING,
        enqueued_at=clock.now(),
        attempt=number,
    )


def shown(data: bytes | str) -> Ticket | None:
    """The ticket that a message is; None if it is a job, or if there is no gate."""
    if runtime.settings().gate is None:
        return None
    try:
        envelope = Envelope.decode(data)
    except EnvelopeError:
        return None  # the door puts it in quarantine
    return Ticket(_configured(), envelope.id) if envelope.name.startswith(PREFIX) else None


def leave() -> None:
    """For the worker of a broker whose process ends after a job."""
    if runtime.settings().gate is not None:
        _configured().leave()


def _required() -> GateSettings:
    found = settings()
    assert found is not None, "it is asked for only where there is a gate"
    return found


def _configured() -> Gate:
    settings()
    found = adapter.configured()
    assert isinstance(found, HasGate), "the adapter 'db' has the table"
    return found.gate


def _never() -> bool:
    return False

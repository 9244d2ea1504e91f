"""A transactional job: that it is done commits with its own work, in its queue or in the inbox."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import msgspec

from tenantjobs import adapter, inbox
from tenantjobs.adapter import JoinsTransaction
from tenantjobs.colours import Colour
from tenantjobs.definition import Definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.inbox import Inbox
from tenantjobs.outcome import Finished


@runtime_checkable
class Completes(Protocol):
    """A delivery by a queue that may live in the database of the job's own session."""

    def joins(self, connection: object) -> bool:
        """True if the queue is in the database of ``connection``."""
        ...

    def complete_within(self, connection: object, finished: Finished) -> None:
        """Finish the job in the transaction of ``connection``; LeaseLost if it is another worker's by now."""
        ...


class AlreadyDone(Exception):
    """Another delivery of the job has committed its effect: this one is rolled back."""


class Completion:
    """How one attempt of a transactional job is finished by its own commit."""

    def __init__(self, envelope: Envelope, job: Definition, io: Colour, delivery: object) -> None:
        self._envelope = envelope
        self._job = job
        self._io = io
        self._delivery = delivery if isinstance(delivery, Completes) else None
        self._inbox: Inbox | None = None
        self._written = False

    async def is_known(self, session: Any) -> bool:
        """Whether the job has had its effect; ``ConfigurationError`` if it could not be noted that it has."""
        if session is None:
            raise ConfigurationError(_without_session(self._job))
        known: bool = await self._io.settle(session.run(self._choose))
        return known

    def with_commit(self, session: Any, finished: Finished) -> None:
        """Have the completion written as the last statement before the commit of ``session``."""
        session.before_commit(lambda connection: self._write(connection, finished))

    def settled(self, finished: Finished) -> Finished:
        """``finished`` as it is after that commit: nothing is left to settle where the queue has been told by it."""
        told = self._written and self._delivery is not None
        return msgspec.structs.replace(finished, settled=True) if told else finished

    def _choose(self, connection: object) -> bool:
        if connection is None:
            raise ConfigurationError(_without_session(self._job))
        if self._delivery is not None and self._delivery.joins(connection):
            return False
        self._delivery = None
        target = adapter.configured()
        if target.capabilities.transactional and not isinstance(target, JoinsTransaction):
            return False  # the queue is in the memory of this process, and delivers nothing twice
        self._inbox = inbox.require(self._job.name)
        if not self._inbox.joins(connection):
            raise ConfigurationError(
                f"job {self._job.name} is transactional, and its session is on another database than [db] engine, "
                f"where its completion is to be written: make the session with that engine"
            )
        return self._inbox.has(connection, self._envelope)

    def _write(self, connection: object, finished: Finished) -> None:
        if self._delivery is not None:
            self._delivery.complete_within(connection, finished)
        elif self._inbox is not None and not self._inbox.add_within(connection, self._envelope):
            raise AlreadyDone(f"job {self._job.name} id={self._envelope.id}")
        self._written = True


def _without_session(job: Definition) -> str:
    wanted = "an async job, an async_sessionmaker" if job.is_async else "a synchronous job, a sessionmaker"
    return (
        f"job {job.name} is transactional, and there is no session for its completion to commit with: give "
        f"tenantjobs_sqlalchemy.install(...) what makes one; for {wanted}"
    )

"""The inbox: which jobs have had their effect, in the application's database, for queues that are elsewhere.

A transactional job that such a queue delivers writes its id there in its own transaction; delivered again, it is
found. The table is one of those that the adapter ``db`` keeps, in the database of ``[db] engine``.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tenantjobs import adapter
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError

KEEPER = "db"  # the adapter whose tables may lie in the application's database


@runtime_checkable
class Inbox(Protocol):
    """The ids of jobs whose effect has been committed."""

    def joins(self, engine: object) -> bool:
        """True if the inbox is in the database of ``engine``, or of the connection that it is."""
        ...

    def has(self, connection: object, envelope: Envelope) -> bool:
        """True if the job has had its effect."""
        ...

    def add_within(self, connection: object, envelope: Envelope) -> bool:
        """Note the job in the transaction of ``connection``; False if another has noted it meanwhile."""
        ...


@runtime_checkable
class HasInbox(Protocol):
    """An adapter that may keep an inbox in the application's database."""

    @property
    def inbox(self) -> Inbox | None: ...


def require(job: str) -> Inbox:
    """The inbox, for the job of that name; ``ConfigurationError`` where the application's database is not known."""
    keeper = adapter.built(KEEPER)
    assert isinstance(keeper, HasInbox), "the adapter 'db' keeps the inbox"
    if keeper.inbox is None:
        raise ConfigurationError(
            f"job {job} is transactional, and there is no place in the application's database to write that it is "
            f'done: set engine in the section [db] (engine = "shop.db:engine"), or leave out transactional'
        )
    return keeper.inbox

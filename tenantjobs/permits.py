"""Permits: a limit of three has three. A job holds one while it runs, and another one waits until one is given back.

A permit is held by one execution, and ends after a while unless that renews it: so a holder that died does not keep it,
and one that lives has it for as long as it runs.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

logger = logging.getLogger("tenantjobs.permits")


class Request(msgspec.Struct, frozen=True):
    """One of the ``of`` permits of ``key``, for the execution ``token`` of the job ``owner``.

    It is free for anybody ``seconds`` after it was given or renewed.
    """

    key: str
    of: int
    tenant: str
    owner: str
    token: str
    seconds: float


class Grant(msgspec.Struct, frozen=True):
    """A permit that was given; ``since`` is by ``time.monotonic()``, from before it was."""

    request: Request
    since: float


class Permits(Protocol):
    """Where permits are kept: beside the ledger of keys."""

    @property
    def one_writer(self) -> bool:
        """True where one transaction that writes keeps all others from writing, as on SQLite."""
        ...

    def joins(self, engine: object) -> bool:
        """True if the permits are in the database of ``engine``, or of the connection that it is."""
        ...

    def take(self, requests: Sequence[Request], connection: object | None = None) -> Collection[str]:
        """Give a permit to each, in the transaction of ``connection`` if it joins; the tokens of those without one.

        There are never more holders of a key than ``of``, whatever others do at the same moment. What a job has
        reserved is given to its execution. An execution that has its permit keeps it, for the new number of seconds.
        """
        ...

    def renew(self, request: Request) -> bool:
        """Hold it for ``request.seconds`` from now; False if the execution does not hold it any more."""
        ...

    def holds(self, request: Request) -> bool:
        """True if nobody else has been given the permit; only reads."""
        ...

    def give_back(self, requests: Sequence[Request], connection: object | None = None) -> None:
        """Free those that these executions still hold."""
        ...

    def forsake(self, owners: Sequence[str], connection: object | None = None) -> None:
        """Free all that these jobs hold or have reserved: they were taken back."""
        ...


class Reservation(NamedTuple):
    """The permit without which a job is not enqueued: one that is discarded rather than made to wait."""

    permits: Permits
    request: Request


class Reserving(Protocol):
    """A job on its way to the queue. Its envelope is sealed by now."""

    @property
    def job_id(self) -> str: ...
    @property
    def reservation(self) -> Reservation | None: ...


J = TypeVar("J", bound=Reserving)


def reserved_token(job_id: str) -> str:
    """Under which a job that waits holds its permit, until one of its executions takes that over."""
    return f"reserved:{job_id}"


def reserve(jobs: Sequence[J], connection: object | None) -> Mapping[str, Request]:
    """Take the permits of those that want one before they are enqueued; what those asked for that get none, by id."""
    wanted = {job.job_id: job.reservation for job in jobs}
    requests = {owner: wish.request for owner, wish in wanted.items() if wish is not None}
    if not requests:
        return {}
    permits = next(wish.permits for wish in wanted.values() if wish is not None)
    refused = permits.take(list(requests.values()), connection)
    return {owner: request for owner, request in requests.items() if request.token in refused}


def release(permits: Permits, *requests: Request) -> None:
    """Give permits back; what keeps them from that is logged, since they end by themselves."""
    try:
        if requests:
            permits.give_back(requests)
    except Exception:
        logger.warning("the permits %s could not be given back; they end by themselves", requests, exc_info=True)

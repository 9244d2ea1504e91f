"""What each witness has to say, read from where it wrote it down, and never from counters of the shop's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Select, select

from examples.shop.current import Current
from examples.shop.delivery import Delivery
from examples.shop.demo.customers import Server, read_servers
from examples.shop.demo.feed import Answer
from examples.shop.demo.receiver import Arrival
from examples.shop.models import Account
from tenantjobs_db import tables

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, as the shop's table has it in the end."""

    id: str
    tenant_id: str
    request_id: str
    status: str
    error: str | None
    job_id: str


class QueuedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as the queue's table has it in the end."""

    id: str
    tenant: str
    state: str
    enqueued_at: datetime
    due_at: datetime | None
    claimed_at: datetime | None
    data: str

    @property
    def waited(self) -> float | None:
        """Milliseconds from when the job was due, the last time if it was retried, to when a worker took it."""
        if self.claimed_at is None:
            return None
        return (self.claimed_at - (self.due_at or self.enqueued_at)).total_seconds() * 1000


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    answers: Sequence[Answer]  # what the customers saw
    arrivals: Sequence[Arrival]  # what their servers saw
    servers: Mapping[str, Server]  # whose those are, by path
    records: Sequence[Record]
    accounts: frozenset[str]  # those that still exist
    jobs: Sequence[QueuedJob]
    retries: Sequence[str]  # the tenant of each attempt that failed and was tried again

    @property
    def committed(self) -> dict[str, str]:
        """The account of every delivery that a customer was told of."""
        return {id: answer.request.account for answer in self.answers for id in answer.deliveries}

    @property
    def rolled_back(self) -> frozenset[str]:
        """The requests that were refused after all had been done."""
        return frozenset(answer.request.id for answer in self.answers if answer.rolled_back)

    @property
    def closed(self) -> frozenset[str]:
        """The accounts whose end a customer was told of."""
        return frozenset(
            answer.request.account
            for answer in self.answers
            if answer.request.method == "DELETE" and answer.status == 204
        )


def gather(engine: Engine, answers: Sequence[Answer], arrivals: Path) -> Evidence:
    """Ask everybody."""
    with Current.system("the evidence of a demo"), engine.connect() as connection:
        return Evidence(
            answers=answers,
            arrivals=msgspec.json.Decoder(Arrival).decode_lines(arrivals.read_bytes()),
            servers={server.path: server for server in read_servers()},
            records=_all(list[Record], connection, select(Delivery.__table__)),
            accounts=frozenset(connection.scalars(select(Account.id))),
            jobs=_all(list[QueuedJob], connection, select(tables.jobs)),
            retries=connection.scalars(select(tables.failures.c.tenant).where(tables.failures.c.retried)).all(),
        )


def _all(kind: type[T], connection: Connection, rows: Select[Any]) -> T:
    return msgspec.convert(connection.execute(rows).all(), kind, from_attributes=True)

"""What the tests of the queue are made of: envelopes, claimers, and time that passes."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from tenantjobs.envelope import Envelope, new_id
from tenantjobs.snapshot import Snapshot
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import Database
from tenantjobs_db.failure import Failure
from tenantjobs_db.processes import Processes
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Finish, Settlement
from tenantjobs_db.tables import jobs, processes

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


def envelope(tenant: str | None = "acme", *, number: int = 7, **fields: Any) -> Envelope:
    """A job as it comes from a caller."""
    values: dict[str, Any] = {
        "id": new_id(),
        "name": "noop",
        "context": msgspec.Raw(Snapshot(tenant_id=tenant).encode()),
        "arguments": msgspec.Raw(b"[[%d],{}]" % number),
        "enqueued_at": datetime.now(UTC),
    }
    return Envelope(**(values | fields))


def envelopes(count: int, tenant: str | None = "acme", **fields: Any) -> list[Envelope]:
    return [envelope(tenant, **fields) for _ in range(count)]


def soon(seconds: float = 3600) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def failure(message: str = "no") -> Failure:
    try:
        raise ValueError(message)
    except ValueError as error:
        return Failure.of(error)


class Claimer:
    """A registered process with its end of the queue."""

    def __init__(self, database: Database, *queues: str, keep_finished: bool = True, lease: float = 60.0) -> None:
        self.processes = Processes(database, lease=lease, max_deaths=3)
        self.process = self.processes.register("test")
        self.consumer = Consumer(database, Selection(queues or ("*",)), keep_finished=keep_finished)

    def claim(self, wanted: int = 1) -> list[Claimed]:
        return self.consumer.exchange(self.process, (), wanted).claimed

    def claim_one(self) -> Claimed:
        (claimed,) = self.claim(1)
        return claimed

    def settle(self, *settlements: Settlement) -> list[Settlement]:
        """The refused ones."""
        return self.consumer.exchange(self.process, settlements).refused

    def finish(self, claims: Iterable[Claimed]) -> list[Settlement]:
        return self.settle(*(Finish(claim) for claim in claims))


def let_expire(database: Database, process: str) -> None:
    """The process has been silent for longer than its lease."""
    with database.begin() as connection:
        connection.execute(update(processes).where(processes.c.id == process).values(expires_at=LONG_AGO))


def let_come_due(database: Database) -> None:
    """Whatever jobs have waited for has come."""
    with database.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.state == "scheduled").values(due_at=LONG_AGO))


def let_time_pass_since_the_end(database: Database) -> None:
    """All jobs that have come to an end did so long ago."""
    with database.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.finished_at.is_not(None)).values(finished_at=LONG_AGO))


def hang_up_on_others(connection: Connection) -> None:
    """End all other connections to the database of this one, from the side of the server."""
    if connection.dialect.name == "postgresql":
        others = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {others}")
    else:
        others = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        for number in connection.exec_driver_sql(others).scalars().all():
            connection.exec_driver_sql(f"KILL {number}")


def claimed_without_owner(database: Database) -> int:
    """Rows that break the invariant: claimed_by is set while a job is claimed, and only then."""
    with database.begin() as connection:
        broken = (jobs.c.state == "claimed") != jobs.c.claimed_by.is_not(None)
        return len(connection.execute(select(jobs.c.id).where(broken)).all())


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port

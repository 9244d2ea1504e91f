"""Of a tenant that was purged no job runs any more, whoever brings it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from tenantjobs import Current, TenantGone, adapter, aperform, discard_on, job, perform, testing, tombstones
from tenantjobs.execution import execute
from tenantjobs.message import Message
from tenantjobs.outcome import Discarded, Finished, Retried

pytest.importorskip("sqlalchemy")

from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.controls import Controls

ran: list[object] = []


@job(name="tombstones.write")
def write() -> None:
    ran.append(Current.tenant_id)


@job(name="tombstones.awrite")
async def awrite() -> None:
    ran.append(Current.tenant_id)


@job(name="tombstones.let_go", policies=[discard_on(TenantGone)])
def let_go() -> None:
    ran.append(Current.tenant_id)


@pytest.fixture(autouse=True)
def queue_elsewhere() -> Iterator[None]:
    ran.clear()
    with testing.override(adapter="test"):
        yield


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DatabaseAdapter]:
    """One of ours beside the queue."""
    with testing.override(db={"url": f"sqlite:///{tmp_path / 'beside.db'}", "synchronous": "NORMAL"}):
        found = adapter.built("db")
        assert isinstance(found, DatabaseAdapter)
        schema.upgrade(found.database.engine)
        yield found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of whom the database was asked."""
    asked: list[str] = []
    closed = Controls.closed

    def asking(self: Controls, tenants: Collection[str]) -> frozenset[str]:
        asked.extend(tenants)
        return closed(self, tenants)

    monkeypatch.setattr(Controls, "closed", asking)
    return asked


def message(job: Any, tenant: str | None = "acme") -> bytes:
    """What a broker has of a job, as it was before whatever happens to its tenant."""
    with Current.system("all of them") if tenant is None else Current.set(tenant_id=tenant):
        return Message(job.call(), adapter.configured()).seal().encode()


async def test_a_late_message_of_a_purged_tenant_is_not_performed(database: DatabaseAdapter) -> None:
    late, alate, other = message(write), message(awrite), message(write, "globex")
    database.purges.purge("acme")

    with pytest.raises(TenantGone, match="tenant acme was purged, and no job of it runs any more"):
        perform(late)
    with pytest.raises(TenantGone, match="this one came late"):
        await aperform(alate)
    perform(other)
    perform(message(write, None))

    assert ran == ["globex", None]


def test_its_job_says_what_then(database: DatabaseAdapter) -> None:
    late = message(let_go)
    database.purges.purge("acme")

    assert isinstance(execute(late), Discarded)
    assert ran == []


def test_what_was_purged_and_is_open_again_is_another_tenant(database: DatabaseAdapter) -> None:
    new = message(write)
    database.purges.purge("acme")
    with pytest.raises(TenantGone):
        perform(new)
    database.controls.open("acme", purged=True)

    perform(new)

    assert ran == ["acme"]


def test_the_messages_of_a_tenant_that_is_drained_are_performed(database: DatabaseAdapter) -> None:
    database.controls.drain("acme")

    perform(message(write))

    assert ran == ["acme"]


@pytest.mark.usefixtures("database")
async def test_a_tenant_is_asked_about_once_a_second(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (write, write):
        perform(message(each))
    await aperform(message(awrite))
    assert asked == ["acme"]
    monkeypatch.setattr("tenantjobs.lately.SECONDS", -1.0)

    perform(message(write))

    assert asked == ["acme", "acme"]
    assert len(ran) == 4


@pytest.mark.usefixtures("database")
def test_while_the_database_does_not_answer_the_job_waits_and_is_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise OSError("nobody is there")

    monkeypatch.setattr(Controls, "closed", closed)

    outcome = execute(message(write))

    assert isinstance(outcome, Retried)
    assert outcome.note == "the database does not say whether tenant acme was purged: nobody is there"
    assert outcome.again().attempt == 0
    assert ran == []


def test_where_there_are_no_tables_nobody_was_purged(tmp_path: Path) -> None:
    with testing.override(db={"url": f"sqlite:///{tmp_path / 'bare.db'}"}):
        assert execute(message(write)) == Finished(None)


def test_nobody_was_purged_from_a_database_of_the_application_without_tables_of_ours(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with testing.override(db={"engine": engine}):
        assert execute(message(write)) == Finished(None)
    engine.dispose()


def test_without_a_database_nobody_is_asked(asked: list[str]) -> None:
    perform(message(write))

    assert (ran, asked) == (["acme"], [])


@pytest.mark.usefixtures("database")
def test_a_job_of_the_database_queue_costs_no_question(asked: list[str]) -> None:
    with testing.override(adapter="db"), Current.set(tenant_id="acme"):
        write.perform_later()
        testing.drain()

    assert (ran, asked) == (["acme"], [])


@pytest.mark.usefixtures("database")
def test_a_child_process_asks_anew() -> None:
    perform(message(write))
    before = tombstones._alive

    tombstones._forget()

    assert len(before) == 1
    assert len(tombstones._alive) == 0

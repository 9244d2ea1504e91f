"""A tenant of a queue that jobs reach by an outbox in another database: what is said and done holds in both."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from tenantjobs import TenantClosed, TenantGone, testing
from tenantjobs import adapter as adapters
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tests.tenantjobs_db.making import envelope


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """That of the application, where the outbox is."""
    made = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    schema.upgrade(made)
    yield made
    made.dispose()


@pytest.fixture
def queue(tmp_path: Path, engine: Engine) -> Iterator[DatabaseAdapter]:
    section = {"engine": engine, "url": f"sqlite:///{tmp_path / 'queue.db'}", "synchronous": "NORMAL"}
    with testing.override(adapter="db", outbox=True, tenancy="optional", db=section):
        found = adapters.configured()
        assert isinstance(found, DatabaseAdapter)
        yield found


def write(queue: DatabaseAdapter, engine: Engine, tenant: str) -> None:
    with engine.begin() as connection:
        queue.outbox.write_within(connection, [envelope(tenant)])


def test_a_drained_tenant_is_refused_by_its_outbox(queue: DatabaseAdapter, engine: Engine) -> None:
    assert queue.controls.drain("acme")
    with pytest.raises(TenantClosed):
        write(queue, engine, "acme")
    assert queue.controls.open("acme")
    write(queue, engine, "acme")


def test_a_tenant_is_exported_and_purged_with_what_its_outbox_has(queue: DatabaseAdapter, engine: Engine) -> None:
    queue.queue.enqueue([envelope("acme")])
    for tenant in ("acme", "globex"):
        write(queue, engine, tenant)

    manifest = queue.exports.export("acme", io.BytesIO())
    assert (manifest.rows["tj_jobs"], manifest.rows["outbox.tj_outbox"]) == (1, 1)

    proof = queue.purges.purge("acme")
    assert proof.is_empty
    assert (proof.removed["tj_jobs"], proof.removed["outbox.tj_outbox"]) == (1, 1)
    with pytest.raises(TenantGone):
        write(queue, engine, "acme")
    assert queue.purges.rows("globex")["outbox.tj_outbox"] == 1
    assert queue.controls.open("acme", purged=True)
    write(queue, engine, "acme")

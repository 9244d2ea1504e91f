"""A tenant is purged: every row of it goes, it is counted that none is left, and nothing of it comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Table, TypeDecorator, func, insert, select

from tenantjobs import Current, TenantBusy, TenantGone, batch, chain, job, testing
from tenantjobs.locks import Lock
from tenantjobs.permits import Request
from tenantjobs.progress import Progress
from tenantjobs.rates import Start
from tenantjobs_db import purging, tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.belongings import BELONGINGS, OTHERS
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.outbox_rows import OutboxRows
from tenantjobs_db.permits import DatabasePermits
from tenantjobs_db.purging import Purging
from tenantjobs_db.queue import Queue
from tenantjobs_db.rates import DatabaseRates, tenant_key
from tenantjobs_db.settlement import Fail, Finish, Retry
from tenantjobs_db.telling import Telling
from tests.tenantjobs_db.making import Claimer, envelope, envelopes, failure

# Of a tenant, besides what its columns say: keys that begin with its id.
KEYS = {"tj_starts": '["{}","group",null]', "tj_rates": '["{}","group",null]', "tj_permits": '["{}","group",null]'}
NOW = datetime(2026, 3, 8, 12, 30, tzinfo=UTC)


@pytest.fixture
def purges(database: Database) -> Purging:
    return Purging({"": database})


@pytest.fixture(autouse=True)
def jobs_of_this_test(registry: object) -> None:
    @job(name="noop")
    def noop(number: int = 0) -> None: ...


def row_of(table: Table, tenant: str) -> dict[str, Any]:
    """A row of a tenant in any table, by the types of its columns."""
    values: dict[str, Any] = {}
    for column in table.c:
        plain = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
        kind = plain.python_type
        if column.name == "tenant":
            values["tenant"] = tenant
        elif table is tables.controls and column.name in ("kind", "name"):
            values[column.name] = {"kind": "tenant", "name": tenant}[column.name]
        elif table is tables.batch_jobs and column.name in ("batch", "job"):
            values[column.name] = f"{tenant} id"  # of the batch and of the job that row_of has made
        elif column.name == "key" and table.name in KEYS:
            values["key"] = KEYS[table.name].format(tenant)
        elif (column.name == "id" and kind is int) or column.nullable:
            continue
        else:
            values[column.name] = {str: f"{tenant} {column.name}", int: 7, float: 7.0, bool: False}.get(kind, NOW)
    return values


def fill(database: Database, *tenants: str) -> None:
    """A row of each tenant in every table that has some."""
    with database.begin() as connection:
        for belonging in BELONGINGS:
            for tenant in tenants:
                connection.execute(insert(belonging.table), row_of(belonging.table, tenant))


def counts(database: Database) -> dict[str, int]:
    with database.begin() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables.metadata.sorted_tables
            if table not in (tables.schema, tables.processes, tables.serving)
        }


@pytest.fixture
def bare(database: Database) -> Iterator[Database]:
    """Also the tables that other tests do not touch are empty, before and after."""
    others = (tables.outbox, tables.inbox, tables.bookmarks)
    for _ in range(2):
        with database.begin() as connection:
            for table in others:
                connection.execute(table.delete())
        if _ == 0:
            yield database


def test_every_table_is_declared_that_has_a_tenant() -> None:
    declared = {belonging.table.name for belonging in BELONGINGS}
    others = {table.name for table in OTHERS}

    assert declared | others == set(tables.metadata.tables)
    assert not declared & others
    assert {table.name for table in OTHERS if "tenant" in table.c} == {"tj_closed"}  # where its tombstone is


def test_every_row_of_a_tenant_goes_and_those_of_others_stay(bare: Database, purges: Purging) -> None:
    fill(bare, "acme", "acme2", "acm")
    assert purges.rows("acme") == {belonging.table.name: 1 for belonging in BELONGINGS}

    proof = purges.purge("acme")

    assert proof.is_empty
    assert proof.rows == dict.fromkeys(proof.rows, 0)
    assert set(proof.rows) == {belonging.table.name for belonging in BELONGINGS}
    assert set(proof.removed.values()) == {1}
    assert (proof.tenant, proof.keys, len(proof.sha256)) == ("acme", "none", 64)
    assert purges.rows("acme2") == purges.rows("acm") == {belonging.table.name: 1 for belonging in BELONGINGS}
    found = Controls(bare).find("tenant", "acme")
    assert found is not None
    assert found.closed == "purged"
    assert purges.purge("acme").removed == {"tj_controls": 1}  # it may be said again, and pauses once more


def test_a_purge_goes_in_batches(
    database: Database, queue: Queue, purges: Purging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "AT_ONCE", 2)
    queue.enqueue([*envelopes(5, "acme"), *envelopes(2, "globex")])
    told: list[tuple[str, int]] = []

    assert purges.purge("acme", tell=lambda table, rows: told.append((table, rows))).removed["tj_jobs"] == 5

    assert told[:3] == [("tj_jobs", 2), ("tj_jobs", 4), ("tj_jobs", 5)]
    assert queue.counts() == {"ready": 2}


def test_a_tenant_whose_jobs_run_is_not_purged_unless_it_is_said(
    database: Database, queue: Queue, claimer: Claimer, purges: Purging
) -> None:
    queue.enqueue([envelope("acme")])
    claimer.claim_one()

    with pytest.raises(TenantBusy, match="1 jobs of tenant acme run"):
        purges.purge("acme")

    assert Controls(database).find("tenant", "acme") is None
    queue.enqueue([envelope("acme")])
    assert purges.purge("acme", while_running=True).is_empty


def test_what_late_workers_and_senders_bring_is_not_written(
    bare: Database, queue: Queue, claimer: Claimer, purges: Purging
) -> None:
    queue.enqueue(envelopes(3, "acme"))
    finished, failed, retried = claimer.claim(3)
    telling = Telling(bare)
    purges.purge("acme", while_running=True)
    before = counts(bare)
    again = envelope("acme")

    settlements = [Finish(finished), Fail(failed, failure()), Retry(retried, again, 3600.0, failure())]
    assert len(claimer.settle(*settlements)) == 3
    telling.tell(finished, Progress(1, 2))
    telling.write()
    late: list[Callable[[], object]] = [
        lambda: queue.enqueue([again]),
        lambda: queue.enqueue([envelope("globex"), again]),
        lambda: DatabaseLedger(bare).acquire("acme", "key", "owner", 1.0, None),
        lambda: DatabaseLocks(bare).lock([Lock("acme", "key", "owner", 1.0)]),
        lambda: DatabasePermits(bare).take([Request("key", 1, "acme", "owner", "token", 1.0)]),
        lambda: DatabaseRates(bare).start(Start(tenant_key("acme"), "acme", "owner", 1, 1.0, 1)),
        lambda: bare.run(lambda connection: OutboxRows(bare, lease=1.0).write(connection, [again])),
        lambda: bare.run(
            lambda connection: DatabaseInbox(bare, lambda _: True, keep=1.0).add_within(connection, again)
        ),
    ]
    for write in late:
        with pytest.raises(TenantGone):
            write()

    assert counts(bare) == before
    assert purges.rows("acme") == dict.fromkeys(before.keys() & purges.rows("acme").keys(), 0)


def test_what_is_counted_for_all_tenants_together_goes_on(database: Database, purges: Purging) -> None:
    rates = DatabaseRates(database)
    shared = Start('[null,"group",null]', "acme", "owner", 1, 60.0, 1)
    assert rates.start(shared) == 0

    assert purges.purge("acme").is_empty

    assert rates.start(Start(shared.key, "globex", "other", 1, 60.0, 1)) > 0


def test_a_transaction_that_was_open_before_is_waited_for(database: Database, queue: Queue) -> None:
    if database.dialect.one_writer:
        pytest.skip("nobody else writes while it is open")
    written, purged = threading.Event(), threading.Event()

    def slow() -> None:
        with database.begin() as connection:
            queue.enqueue_within(connection, [envelope("acme")])
            written.set()
            assert not purged.wait(0.3)

    sender = threading.Thread(target=slow)
    sender.start()
    assert written.wait(5)
    proof = Purging({"": database}).purge("acme")
    purged.set()
    sender.join()

    assert (proof.is_empty, proof.removed["tj_jobs"]) == (True, 1)
    assert queue.counts() == {}


def test_an_open_transaction_is_not_waited_for_for_ever(database: Database, queue: Queue) -> None:
    if database.dialect.name != "postgresql":
        pytest.skip("elsewhere what it has written is waited for, as long as the database says")
    with database.begin() as connection:
        queue.enqueue_within(connection, [envelope("acme")])
        with pytest.raises(TenantBusy, match=r"transaction .* of process"):
            Purging({"": database}, patience=0.1).purge("acme")
    assert Purging({"": database}).purge("acme").removed["tj_jobs"] == 1


@pytest.mark.parametrize("point", ["after_tombstone", "while_purging:2", "before_proof"])
def test_a_purge_that_was_killed_is_run_again(bare: Database, url: str, purges: Purging, point: str) -> None:
    fill(bare, "acme", "globex")
    code = f"""
from tenantjobs_db.database import own
from tenantjobs_db.purging import Purging
Purging({{"": own({url!r})}}).purge("acme")
"""
    environment = os.environ | {"TENANTJOBS_FAULT": point, "TENANTJOBS_CONFIG": os.devnull}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == -9
    found = Controls(bare).find("tenant", "acme")
    assert found is not None
    assert found.closed == "purging"

    assert purges.purge("acme").is_empty

    assert sum(purges.rows("globex").values()) == len(BELONGINGS)


def test_the_keys_of_a_purged_tenant_are_destroyed_where_the_keyring_can(adapter: DatabaseAdapter) -> None:
    class Keyring:
        def __init__(self) -> None:
            self.keys = {"acme": bytes(32), "globex": bytes(32)}

        def __call__(self, tenant_id: str | None) -> bytes:
            return self.keys[tenant_id or ""]

        def destroy(self, tenant_id: str) -> None:
            self.keys.pop(tenant_id, None)

    keyring = Keyring()
    with testing.override(encryption={"keys": keyring}):
        assert adapter.purges.purge("acme").keys == "destroyed"
    with testing.override(encryption={"keys": lambda tenant_id: bytes(32)}):
        assert adapter.purges.purge("globex").keys == "left"

    assert set(keyring.keys) == {"globex"}


def test_a_proof_is_signed_where_there_are_keys(adapter: DatabaseAdapter) -> None:
    assert adapter.purges.purge("acme").signature is None
    with testing.override(signing={"keys": [f"k1:{'x' * 32}"]}):
        signature = adapter.purges.purge("acme").signature
    assert signature is not None
    assert signature.startswith("k1:")


def test_a_batch_of_others_does_not_wait_for_jobs_that_are_gone(adapter: DatabaseAdapter) -> None:
    performed: list[str] = []

    @job(name="part", tenancy="optional")
    def part(what: str) -> None:
        performed.append(what)

    with Current.system("a report of all tenants"), batch(on_success=part.call("callback")):
        with Current.set(tenant_id="acme"):
            chain(part.call("acme"), part.call("acme, behind it")).perform_later()
        with Current.set(tenant_id="globex"):
            part.perform_later("globex")

    assert adapter.purges.purge("acme").removed["tj_batch_jobs"] == 1  # and one of what was to follow
    testing.drain()

    assert performed == ["globex", "callback"]

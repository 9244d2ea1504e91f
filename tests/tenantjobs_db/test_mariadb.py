"""What is different on MariaDB: skip scans by probes, transactions that see a snapshot, deadlocks in spite of order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from tenantjobs.errors import EnqueueError
from tenantjobs.locks import Lock
from tenantjobs_db import schema, tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.claiming import Claiming
from tenantjobs_db.database import Database, beside
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.queues import queues_with_work
from tenantjobs_db.rooms import Rooms
from tests.tenantjobs_db.making import envelope, envelopes

pytestmark = pytest.mark.mariadb


@pytest.fixture
def url(mariadb_url: str) -> str:
    return mariadb_url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The application's engine, whose transactions see a snapshot, as it is the rule on MariaDB."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


def rows_read(connection: Connection) -> int:
    """How many rows the server has looked at for this connection."""
    found = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")).all()
    return sum(int(row[1]) for row in found)


def reads_of_a_claim(database: Database, process: str) -> int:
    claiming, queues = Claiming(database), queues_with_work(database.dialect)
    with database.begin() as connection:
        before = rows_read(connection)
        assert queues(connection) == ["default"]
        claimed = claiming.claim(connection, process, ["default"], 5, Rooms())
        assert len({claim.tenant for claim in claimed}) == 5
        read = rows_read(connection) - before
        connection.rollback()
    return read


def test_neither_the_backlog_nor_the_number_of_tenants_makes_a_claim_dearer(
    database: Database, queue: Queue, living: Processes
) -> None:
    process = living.register("test")
    queue.enqueue([envelope(f"t{number}") for number in range(8)])
    shallow = reads_of_a_claim(database, process)
    queue.enqueue([*envelopes(3000, "t1"), *envelopes(1000, "t4"), *(envelope(f"u{number}") for number in range(1000))])

    assert shallow < 100
    assert reads_of_a_claim(database, process) <= shallow


def test_what_a_claim_has_taken_is_left_out_by_another_one_at_once(
    database: Database, queue: Queue, living: Processes
) -> None:
    queue.enqueue([*envelopes(3, "a"), *envelopes(3, "b")])
    claiming, other_claiming = Claiming(database), Claiming(database)
    with database.begin() as one, database.begin() as other:
        first = claiming.claim(one, living.register("test"), ["default"], 4, Rooms())
        second = other_claiming.claim(other, living.register("test"), ["default"], 4, Rooms())

    assert sorted(claimed.tenant for claimed in first) == ["a", "a", "b", "b"]
    assert sorted(claimed.tenant for claimed in second) == ["a", "b"]


def test_our_own_transactions_read_what_is_committed_whatever_those_of_the_application_do(url: str) -> None:
    strict = create_engine(url, isolation_level="SERIALIZABLE")
    ours = beside(strict)
    with ours.begin() as connection:
        assert connection.execute(text("SELECT @@session.tx_isolation")).scalar_one() == "READ-COMMITTED"
    with strict.connect() as connection:
        assert connection.execute(text("SELECT @@session.tx_isolation")).scalar_one() == "SERIALIZABLE"
    ours.close()
    strict.dispose()


def test_a_lock_and_a_key_that_were_taken_after_a_transaction_began_are_seen_in_it(
    database: Database, engine: Engine
) -> None:
    locks = DatabaseLocks(database, lambda connection: isinstance(connection, Connection))
    ledger = DatabaseLedger(database, lambda connection: isinstance(connection, Connection))
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM tj_locks, tj_ledger")).all()  # the snapshot
        locks.lock([Lock("acme", "k", "first", 60)])
        ledger.acquire("acme", "k", "first", 60, None)

        assert locks.lock([Lock("acme", "k", "second", 60)], connection) == {"second": "first"}
        assert ledger.acquire("acme", "k", "second", 60, None, connection) == "running"


def test_a_transaction_that_gave_way_in_a_deadlock_is_done_again(database: Database, queue: Queue) -> None:
    one, other = envelopes(2)
    queue.enqueue([one, other])
    meeting = threading.Barrier(2, timeout=10)
    tries: list[str] = []

    def cross(first: str, second: str) -> None:
        def work(connection: Connection) -> None:
            tries.append(first)
            connection.execute(text("UPDATE tj_jobs SET deaths = deaths + 1 WHERE id = :id"), {"id": first})
            if len(tries) <= 2:
                meeting.wait()
            connection.execute(text("UPDATE tj_jobs SET deaths = deaths + 1 WHERE id = :id"), {"id": second})

        database.run(work)

    threads = [
        threading.Thread(target=cross, args=(one.id, other.id)),
        threading.Thread(target=cross, args=(other.id, one.id)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(tries) == 3
    assert [queue.find(job.id).deaths for job in (one, other)] == [2, 2]  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize("fields", [{"name": "n" * 241}, {"queue": "q" * 241}])
def test_a_name_that_would_be_cut_off_is_refused(
    adapter: DatabaseAdapter, engine: Engine, fields: dict[str, str]
) -> None:
    with pytest.raises(EnqueueError, match="at most 240 characters"):
        adapter.enqueue(envelope(**fields))
    with engine.begin() as connection, pytest.raises(EnqueueError, match="at most 240 characters"):
        connection.execute(text("SET SESSION sql_mode = ''"))
        adapter.enqueue_within(connection, [envelope(**fields), envelope()])

    assert adapter.queue.counts() == {}


def test_who_upgrades_next_sees_what_was_upgraded_on_a_connection_that_is_not_committed(bare_mariadb_url: str) -> None:
    application = create_engine(bare_mariadb_url)
    with application.connect() as first, application.connect() as second:
        schema.upgrade(first)

        assert schema.upgrade(second) == ()
    tables.metadata.drop_all(application)
    application.dispose()

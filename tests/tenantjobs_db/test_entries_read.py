"""How many entries of the index of lines a claim has read, whatever the server does with its statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from tenantjobs_db.database import Database, own
from tenantjobs_db.entries_read import entries_read
from tenantjobs_db.exchange_at_once import SetBasedExchange
from tenantjobs_db.queue import Queue
from tenantjobs_db.rooms import Rooms
from tests.tenantjobs_db.making import Claimer, envelopes

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = own(postgres_url)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
    yield database
    database.close()


@pytest.mark.parametrize("wanted", [1, 5])
def test_a_claim_says_all_that_it_has_read_whenever_the_server_takes_note_of_it(
    database: Database, wanted: int
) -> None:
    exchange: Any = SetBasedExchange.on(database, keep_finished=True)
    claimer = Claimer(database)
    Queue(database).enqueue(envelopes(250))

    with database.begin() as report:
        report.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        report.execute(text("SELECT count(*) FROM tj_jobs"))
        assert len(claimer.claim(200)) == 200  # which stay in the way
        reads = []
        for _ in range(3):
            found, _refused, read = exchange(claimer.process, (), "default", "", wanted, Rooms())
            assert len(found) == wanted
            reads.append(read)
            with database._autocommit.connect() as connection:
                connection.execute(text("SELECT pg_stat_force_next_flush()"))

    assert min(reads) >= 200


def test_the_count_of_a_transaction_goes_on(database: Database) -> None:
    Queue(database).enqueue(envelopes(3))

    with database.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        before = entries_read(connection)
        connection.execute(text("SELECT id FROM tj_jobs WHERE state = 'ready' ORDER BY queue, tenant, priority, id"))

        assert entries_read(connection) - before >= 3

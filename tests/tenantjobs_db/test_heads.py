"""The three ways to find the heads of the lines whose turn it is, all of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import Connection, text

from tenantjobs_db.database import Database, own
from tenantjobs_db.heads import NEXT, ROUND, WITHIN_ROOMS

pytestmark = pytest.mark.postgres

WAYS = {"next": NEXT, "round": ROUND, "within rooms": WITHIN_ROOMS}


@pytest.fixture
def filled(postgres_url: str) -> Iterator[Database]:
    """A hundred jobs of each of a thousand tenants."""
    database = own(postgres_url)
    _fill(database, 100_000, 1000)
    yield database
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
    database.close()


@pytest.fixture
def few(postgres_url: str) -> Iterator[Database]:
    """Three tenants with 34, 33 and 33 jobs, and queues before and behind theirs."""
    database = own(postgres_url)
    _fill(database, 100, 3)
    with database.begin() as connection:
        for number, queue in enumerate(("a", "z")):
            connection.execute(text(f"{INSERT} VALUES ('x{number}', '{queue}', 't1', {VALUES})"))
    yield database
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
    database.close()


INSERT = "INSERT INTO tj_jobs (id, queue, tenant, name, priority, state, attempt, enqueued_at, data)"
VALUES = "'noop', 0, 'ready', 0, now(), '{}'"


def _fill(database: Database, count: int, tenants: int) -> None:
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
        rows = f"SELECT 'job-' || n, 'default', 't' || n % {tenants}, {VALUES} FROM generate_series(1, {count}) AS n"
        connection.execute(text(f"{INSERT} {rows}"))
    with database.autocommit() as connection:
        connection.execute(text("VACUUM ANALYZE tj_jobs"))


def _wish(cursor: str, wanted: int) -> dict[str, object]:
    return {
        "queue": "default",
        "cursor": cursor,
        "wanted": wanted,
        "probes": wanted,
        "most": 1000,
        "full": [],
        "busy": [],
        "rooms": [],
    }


def _found(connection: Connection, heads: str, cursor: str, wanted: int) -> Mapping[str, list[str]]:
    """The ids of each tenant, in the order of its line."""
    statement = text(f"""
        WITH RECURSIVE {heads}
        SELECT tenant, array_agg(id ORDER BY priority, id) AS ids FROM tj_jobs
        WHERE ctid = ANY (ARRAY (SELECT ctid FROM heads)) GROUP BY tenant
    """)
    return {row.tenant: row.ids for row in connection.execute(statement, _wish(cursor, wanted))}


@pytest.mark.parametrize("cursor", ["", "t0", "t1", "t2", "u"])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 50, 99])
def test_they_name_the_same_jobs(few: Database, cursor: str, wanted: int) -> None:
    with few.begin() as connection:
        found = [
            _found(connection, heads, cursor, wanted) for way, heads in WAYS.items() if way != "next" or wanted == 1
        ]

        assert all(each == found[0] for each in found)
        assert sum(map(len, found[0].values())) == wanted


@pytest.mark.parametrize("way", WAYS)
def test_of_a_line_whose_head_another_one_has_locked_the_next_is_taken(few: Database, way: str) -> None:
    with few.begin() as other, few.begin() as connection:
        other.execute(text("SELECT FROM tj_jobs WHERE id = 'job-1' FOR UPDATE"))

        wanted = 1 if way == "next" else 3
        assert _found(connection, WAYS[way], "t0", wanted)["t1"] == ["job-10"]


@pytest.mark.parametrize("way", WAYS)
def test_where_nothing_is_ready_there_are_none(few: Database, way: str) -> None:
    with few.begin() as connection:
        connection.execute(text("UPDATE tj_jobs SET state = 'scheduled'"))

        assert _found(connection, WAYS[way], "t1", 3) == {}


@pytest.mark.parametrize(("way", "wanted"), [("next", 1), ("round", 10), ("within rooms", 10)])
def test_the_heads_are_read_and_not_the_backlog(filled: Database, way: str, wanted: int) -> None:
    wish = _wish("t5", wanted)
    if way == "within rooms":
        wish |= {"most": 8, "full": ["t6"], "busy": ["t6", "t7"], "rooms": [0, 1]}
    with filled.begin() as connection:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) WITH RECURSIVE {WAYS[way]} SELECT FROM heads"
        plan = "\n".join(connection.execute(text(explain), wish).scalars())

    assert "Seq Scan on tj_jobs" not in plan
    assert "tj_jobs_ready" in plan
    assert _buffers(plan) < 30 * wanted, plan


def _buffers(plan: str) -> int:
    line = next(line for line in plan.splitlines() if "Buffers:" in line)
    return sum(int(part.partition("=")[2]) for part in line.split() if part.startswith(("hit=", "read=")))

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert, inspect, select, text

from tenantjobs.adapter import WorkOptions
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import schema, steps, tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.dialects import DIALECTS, dialect_of
from tenantjobs_db.steps.table import WORDS
from tests.tenantjobs_db.conftest import DATABASES
from tests.tenantjobs_db.making import LONG_AGO

ALL = tuple(step.version for step in steps.STEPS)


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without tables, on an engine of the application."""
    urls = {"postgresql": "bare_postgres_url", "mariadb": "bare_mariadb_url"}
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'app.db'}" if is_file else request.getfixturevalue(urls[request.param])
    engine = create_engine(url)
    yield engine
    tables.metadata.drop_all(engine)
    engine.dispose()


@pytest.mark.parity("1b.01")
def test_the_steps_lead_to_the_tables_that_the_code_knows(empty: Engine) -> None:
    schema.upgrade(empty)
    made_by_steps = _described(empty)
    with empty.begin() as connection:
        tables.metadata.drop_all(connection)
        tables.metadata.create_all(connection)

    assert made_by_steps == _described(empty)


def test_a_second_upgrade_changes_nothing(empty: Engine) -> None:
    assert schema.upgrade(empty) == ALL
    assert schema.upgrade(empty) == ()
    assert schema.status(empty) == schema.Status(version=schema.VERSION)


def test_every_step_may_be_run_again(empty: Engine) -> None:
    schema.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("DELETE FROM tj_schema"))

    assert schema.upgrade(empty) == ALL


def test_concurrent_upgraders_wait_for_each_other(empty: Engine) -> None:
    taken: list[tuple[int, ...]] = []
    start = threading.Barrier(4)

    def upgrade() -> None:
        start.wait()
        taken.append(schema.upgrade(empty))

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == [(), (), (), ALL]


def test_an_upgrade_on_a_connection_is_committed_by_its_owner(empty: Engine) -> None:
    with empty.connect() as connection:
        schema.upgrade(connection)
        connection.commit()

    assert schema.status(empty).problem is None


def test_the_printed_sql_does_what_upgrade_does(empty: Engine) -> None:
    script = schema.sql(empty.dialect.name)
    with empty.begin() as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.execute(text(statement))

    assert schema.status(empty).problem is None
    assert schema.upgrade(empty) == ()


def test_printed_sql_can_leave_out_what_is_there() -> None:
    assert "tj_jobs" not in schema.sql("sqlite", since=schema.VERSION)


def test_sql_for_a_database_that_is_not_spoken_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no dialect for 'oracle'"):
        schema.sql("oracle")


@pytest.mark.parity("1b.01")
def test_every_step_is_written_for_every_dialect() -> None:
    assert [step.version for step in steps.STEPS] == list(range(1, schema.VERSION + 1))
    assert {dialect_of(name).name for name in DIALECTS} == set(WORDS)
    assert all(step.statements(dialect) for step in steps.STEPS for dialect in WORDS)


def test_names_that_differ_in_case_accents_or_a_space_at_the_end_are_different(empty: Engine) -> None:
    names = ["acme", "Acme", "acmé", "acme ", "acme\x01"]
    schema.upgrade(empty)
    with empty.begin() as connection:
        row = {"key": "k", "owner": "o", "token": "t", "state": "done", "lease_until": LONG_AGO}
        connection.execute(insert(tables.ledger), [row | {"tenant": name} for name in names])
        found = connection.execute(select(tables.ledger.c.tenant).order_by(tables.ledger.c.tenant)).scalars().all()

    assert found == sorted(names)


def test_a_missing_schema_says_which_command_makes_it(empty: Engine) -> None:
    assert "tenantjobs db upgrade" in str(schema.status(empty).problem)


@pytest.mark.parametrize(("version", "advice"), [(-1, "run `tenantjobs db upgrade`"), (99, "install the release")])
def test_a_worker_refuses_a_schema_that_it_does_not_know(empty: Engine, version: int, advice: str) -> None:
    schema.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("DELETE FROM tj_schema"))
        connection.execute(text(f"INSERT INTO tj_schema (version, applied_at) VALUES ({version}, CURRENT_TIMESTAMP)"))
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(engine=empty))

    assert any(advice in problem for problem in adapter.check())
    with pytest.raises(ConfigurationError, match=advice):
        adapter.work(WorkOptions(drain=True))
    adapter.close()


def test_a_database_of_the_queues_own_gets_its_tables_at_first_use(
    tmp_path: Path, build: Callable[..., DatabaseAdapter]
) -> None:
    adapter = build(url=f"sqlite:///{tmp_path / 'own.db'}")

    assert adapter.queue.counts() == {}
    assert adapter.check() == []


def test_our_tables_are_told_from_those_of_the_application() -> None:
    assert all(schema.is_ours(name) for name in tables.metadata.tables)
    assert not schema.is_ours("orders")
    assert schema.include_name("orders", "table", {})
    assert schema.include_name("tj_anything", "column", {"table_name": "orders"})
    assert not schema.include_name("tj_jobs", "table", {})


@pytest.mark.parity("1b.01")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT min(tenant) FROM tj_jobs WHERE state = 'ready' AND queue = 'q' AND tenant > 'a'", "tj_jobs_ready"),
        ("SELECT id FROM tj_jobs WHERE state = 'scheduled' AND due_at <= '2001' ORDER BY due_at", "tj_jobs_scheduled"),
        ("SELECT id FROM tj_jobs WHERE state = 'claimed' AND claimed_by = 'p'", "tj_jobs_claimed"),
        (
            "SELECT id FROM tj_jobs WHERE (state = 'finished' OR state = 'discarded') AND finished_at < '2001'",
            "tj_jobs_pruned",
        ),
    ],
)
def test_on_sqlite_each_question_has_its_index(tmp_path: Path, query: str, index: str) -> None:
    connection = sqlite3.connect(tmp_path / "queue.db")
    for statement in schema.sql("sqlite").split(";\n"):
        connection.execute(statement)

    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    assert any(f"USING INDEX {index}" in line or f"USING COVERING INDEX {index}" in line for line in plan), plan
    connection.close()


def _described(engine: Engine) -> dict[str, Any]:
    inspector = inspect(engine)
    return {
        table: {
            "columns": [
                (column["name"], _type(column["type"]), column["nullable"], str(column["default"]))
                for column in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "indexes": sorted(
                (
                    index["name"],
                    index["column_names"],
                    sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items()),
                )
                for index in inspector.get_indexes(table)
            ),
        }
        for table in sorted(inspector.get_table_names())
        if schema.is_ours(table)
    }


def _type(kind: Any) -> str:
    """Without the collation on MariaDB: it belongs to the tables that the steps make, and has a test of its own."""
    return str(kind).partition(" COLLATE ")[0] if "mysql" in type(kind).__module__ else str(kind)

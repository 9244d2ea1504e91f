"""A short form of ``make torture``, so that it works whenever it is wanted, and what it counts is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Executable, insert, text, update

from tenantjobs_db import schema, tables
from tenantjobs_db.database import Database, own
from tests.services import fresh_postgres
from tests.tenantjobs_db.making import LONG_AGO
from tests.torture.audit import audit
from tests.torture.run import Result, torture
from tests.torture.servers import File, Shared
from tests.torture.tables import Base, Effect, Order

JOB = {
    "queue": "default",
    "tenant": "t1",
    "priority": 0,
    "attempt": 1,
    "enqueued_at": LONG_AGO,
    "data": "",
}
EFFECT = {"job_id": "j1", "number": 1, "part": "", "tenant": "t1", "mark": "t1 1", "began": 1.0, "ended": 2.0}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_some_seconds_of_torture_lose_double_and_leak_nothing_and_nothing_is_stuck(name: str, tmp_path: Path) -> None:
    if name == "sqlite":
        result = _short(File(tmp_path / "torture.db"), tmp_path)
    else:
        with fresh_postgres() as url:
            result = _short(Shared(url), tmp_path)

    assert {kind: found for kind, found in result.findings.items() if found} == {}
    assert result.jobs > 300
    assert sum(result.acts.values()) > 0


def _short(server: File | Shared, folder: Path) -> Result:
    return torture(server, folder, jobs=300, tenants=10, seed=7, minutes=0.15, lease=3.0, pause=(0.1, 0.5))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A queue in which one transactional job of one order has come to a good end."""
    database = own(f"sqlite:///{tmp_path / 'torture.db'}")
    schema.upgrade(database.engine)
    Base.metadata.create_all(database.engine)
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE starts_seen AS SELECT * FROM tj_starts WHERE 1 = 0"))
        connection.execute(insert(Order), {"number": 1, "kind": "transactional", "tenant": "t1"})
        job = {"id": "j1", "name": "tests.torture.app.transactional", "state": "finished", "finished_at": LONG_AGO}
        connection.execute(insert(tables.jobs), JOB | job)
        connection.execute(insert(Effect), EFFECT)
    yield database
    database.close()


def test_nothing_is_found_where_nothing_is_wrong(database: Database) -> None:
    assert not any(audit(database).wrong.values())


@pytest.mark.parametrize(
    ("found", "statement"),
    [
        ("lost", text("DELETE FROM effects")),
        ("lost", update(tables.jobs).values(state="failed")),
        ("doubled", insert(Effect).values(EFFECT)),
        ("leaked", update(Effect).values(tenant="t2")),
        ("leaked", update(Effect).values(mark="t1 2")),
        ("stuck", update(tables.jobs).values(state="ready", finished_at=None)),
        ("stuck", insert(tables.locks).values(tenant="t1", key="k", owner="j1", expires_at=LONG_AGO)),
        ("beyond", update(Order).values(due=5.0)),
        ("undone", insert(Effect).values(EFFECT | {"number": -1})),
        ("undone", insert(Effect).values(EFFECT | {"part": "never ordered", "job_id": "j2"})),
    ],
)
def test_whatever_goes_wrong_would_show(database: Database, found: str, statement: Executable) -> None:
    with database.begin() as connection:
        connection.execute(statement)

    assert audit(database).wrong[found] != []

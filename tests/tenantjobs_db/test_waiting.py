"""Jobs that are put aside, as the database goes about it."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, event

from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tenantjobs_db.waiting import Waiting
from tests.tenantjobs_db.making import envelopes


@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_on_postgresql_jobs_are_put_aside_without_going_through_all_that_are_ready(
    database: Database, queue: Queue
) -> None:
    """Also where the server has no statistics yet: it is then that a flood is put aside."""
    queue.enqueue(envelopes(3000, "acme"))
    waiting = Waiting(database.dialect)
    plan: list[str] = []

    def explain(
        connection: Connection, _cursor: object, statement: str, parameters: dict[str, str], *_: object
    ) -> None:
        if statement.startswith("UPDATE"):
            plan.extend(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())

    with database.begin() as connection:
        line = waiting.line(connection, "default", "acme", 100)
        event.listen(connection, "before_cursor_execute", explain)
        waiting.put_aside(connection, [row.id for row in line])

    assert queue.counts() == {"ready": 2900, "blocked": 100}
    assert plan
    assert not [step for step in plan if "tj_jobs_ready" in step]

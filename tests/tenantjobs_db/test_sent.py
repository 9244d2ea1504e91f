"""A statement below the cursors of psycopg, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, create_engine, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from tenantjobs_db.prepared import Prepared
from tenantjobs_db.sent import Sent
from tenantjobs_db.tables import closed

pytestmark = pytest.mark.postgres

ROW = {
    "tenant": "straße/日本 'x' \\ %",
    "state": "draining",
    "reason": None,
    "closed_at": datetime(2026, 11, 1, 12, 30, 0, 5, tzinfo=UTC),
}
INSERT = postgresql.insert(closed).on_conflict_do_nothing(index_elements=["tenant"])


@pytest.fixture
def options() -> dict[str, Any]:
    return {}


@pytest.fixture
def engine(postgres_url: str, options: dict[str, Any]) -> Iterator[Engine]:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", connect_args=options)
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM tj_closed"))
    yield engine
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM tj_closed"))
    engine.dispose()


@pytest.fixture
def by_cursor(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was left to a cursor."""
    left: list[object] = []
    execute = Prepared.execute

    def counted(statement: Prepared, values: dict[str, Any]) -> int:
        left.append(values)
        return execute(statement, values)

    monkeypatch.setattr(Prepared, "execute", counted)
    return left


def stored(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(closed)).mappings()]


def test_values_are_stored_as_they_are(engine: Engine, by_cursor: list[object]) -> None:
    assert Sent(engine, INSERT).execute(ROW) == 1

    assert stored(engine) == [ROW]
    assert by_cursor == []


def test_it_counts_the_rows(engine: Engine) -> None:
    insert = Sent(engine, INSERT)
    reopened = Sent(engine, update(closed).where(closed.c.tenant == bindparam("of")).values(state="purged"))

    assert [insert.execute(ROW), insert.execute(ROW)] == [1, 0]
    assert [reopened.execute({"of": tenant}) for tenant in (ROW["tenant"], "globex")] == [1, 0]


def test_a_text_that_the_server_cannot_hold_is_refused_and_not_cut_short(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="NUL"):
        Sent(engine, INSERT).execute(ROW | {"tenant": "a\0b"})

    assert stored(engine) == []


def test_what_the_server_refuses_is_raised_as_a_cursor_raises_it(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as refused:
        Sent(engine, INSERT).execute(ROW | {"state": None})

    assert type(refused.value.orig).__name__ == "NotNullViolation"
    assert not refused.value.connection_invalidated


def test_a_statement_that_the_connection_has_forgotten_is_prepared_again(
    engine: Engine, by_cursor: list[object]
) -> None:
    insert = Sent(engine, INSERT)
    for number in range(3):
        if number == 1:
            with engine.connect() as connection:
                connection.execute(text("DEALLOCATE ALL"))
        assert insert.execute(ROW | {"tenant": f"{number}"}) == 1

    assert len(by_cursor) == 1
    assert len(stored(engine)) == 3


@pytest.mark.parametrize("options", [{"prepare_threshold": None}])
def test_nothing_is_prepared_where_the_connections_are_not_to(engine: Engine, by_cursor: list[object]) -> None:
    assert Sent(engine, INSERT).execute(ROW) == 1

    assert len(by_cursor) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0


def test_a_connection_that_the_server_has_ended_is_lost_as_with_a_cursor(engine: Engine) -> None:
    insert = Sent(engine, INSERT)
    insert.execute(ROW)
    with engine.connect() as connection:
        backend = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]  # psycopg's
    other = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})
    other.dispose()
    with pytest.raises(DBAPIError) as lost:
        insert.execute(ROW | {"tenant": "globex"})

    assert lost.value.connection_invalidated
    assert insert.execute(ROW | {"tenant": "globex"}) == 1

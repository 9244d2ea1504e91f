from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, bindparam, create_engine, event, insert, select, update
from sqlalchemy.exc import IntegrityError

from tenantjobs_db.columns import Moment
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.tables import closed, metadata

ROW = {"tenant": "acme", "state": "draining", "reason": None, "closed_at": datetime(2026, 11, 1, 12, 30, tzinfo=UTC)}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{tmp_path / 'some.db'}", isolation_level="AUTOCOMMIT")
    metadata.create_all(engine)
    return engine


def test_values_are_stored_as_sqlalchemy_stores_them(engine: Engine) -> None:
    Prepared(engine, insert(closed)).execute(ROW)

    with engine.connect() as connection:
        assert connection.execute(select(closed)).mappings().all() == [ROW]


def test_a_parameter_that_makes_its_own_value_is_asked_each_time(engine: Engine) -> None:
    hours = iter((1, 2))
    moment = bindparam("moment", callable_=lambda: datetime(2026, 11, 1, next(hours), tzinfo=UTC), type_=Moment())
    statement = Prepared(engine, insert(closed).values(tenant=bindparam("tenant"), state="draining", closed_at=moment))

    for tenant in ("acme", "globex"):
        statement.execute({"tenant": tenant})

    with engine.connect() as connection:
        assert [row.closed_at.hour for row in connection.execute(select(closed).order_by(closed.c.tenant))] == [1, 2]


def test_it_counts_the_rows(engine: Engine) -> None:
    Prepared(engine, insert(closed)).execute(ROW)
    reopened = Prepared(engine, update(closed).where(closed.c.tenant == bindparam("of")).values(state="purged"))

    assert [reopened.execute({"of": tenant}) for tenant in ("acme", "globex")] == [1, 0]


def test_it_answers_with_rows(engine: Engine) -> None:
    Prepared(engine, insert(closed)).execute(ROW)
    asked = Prepared(engine, select(closed.c.state).where(closed.c.tenant == bindparam("of")))

    assert [list(asked.rows({"of": tenant})) for tenant in ("acme", "globex")] == [[("draining",)], []]


@pytest.mark.parametrize("when", ["idle", "in use"])
def test_when_one_connection_is_lost_the_others_of_the_pool_are_closed_and_made_anew(
    engine: Engine, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = Prepared(engine, insert(closed))
    statement.execute(ROW)
    lost, other = engine.raw_connection(), engine.raw_connection()
    theirs = other.driver_connection
    lost.close()  # the next one that is taken
    if when == "idle":
        other.close()
    gone: list[object] = []
    event.listen(engine, "close", lambda connection, _: gone.append(connection))
    monkeypatch.setattr(engine.dialect, "is_disconnect", lambda *_: True)

    with pytest.raises(IntegrityError) as raised:
        statement.execute(ROW)
    other.close()
    again = [engine.raw_connection(), engine.raw_connection()]

    assert raised.value.connection_invalidated
    assert theirs in gone
    assert theirs not in [each.driver_connection for each in again]


def test_an_error_is_that_of_sqlalchemy_and_hides_the_values(engine: Engine) -> None:
    statement = Prepared(engine, insert(closed))
    statement.execute(ROW)

    with pytest.raises(IntegrityError) as raised:
        statement.execute(ROW)

    assert "acme" not in str(raised.value)
    assert not raised.value.connection_invalidated


def test_a_connection_that_was_interrupted_is_not_used_again(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'some.db'}", connect_args={"factory": Interrupted})
    invalidated: list[object] = []
    event.listen(engine, "invalidate", lambda *given: invalidated.append(given))

    with pytest.raises(KeyboardInterrupt):
        Prepared(engine, insert(closed)).execute(ROW)

    assert len(invalidated) == 1


class Interrupted(sqlite3.Connection):
    def cursor(self, *_: object) -> InterruptedCursor:  # type: ignore[override]
        return InterruptedCursor(self)


class InterruptedCursor(sqlite3.Cursor):
    def execute(self, statement: str, *_: object) -> InterruptedCursor:
        if statement.startswith("INSERT"):
            raise KeyboardInterrupt
        return super().execute(statement)

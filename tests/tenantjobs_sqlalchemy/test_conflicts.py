from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from tenantjobs_sqlalchemy import deadlock
from tests.tenantjobs_sqlalchemy.conftest import POSTGRES


def driver_error(module: str, *args: object, **attributes: object) -> Exception:
    kind = type("DriverError", (Exception,), {"__module__": module, **attributes})
    error: Exception = kind(*args)
    return error


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
@pytest.mark.parametrize("attribute", ["sqlstate", "pgcode"])
def test_postgres_says_it_by_its_sqlstate(state: str, attribute: str) -> None:
    error = driver_error("psycopg.errors", "oh", **{attribute: state})

    assert deadlock(error)
    assert deadlock(OperationalError("UPDATE", {}, error))


@pytest.mark.parametrize("code", [1205, 1213])
def test_mysql_says_it_by_its_number(code: int) -> None:
    assert deadlock(OperationalError("UPDATE", {}, driver_error("pymysql.err", code, "try again")))


@pytest.mark.parametrize(
    "error",
    [
        ValueError(1213),
        driver_error("pymysql.err", 1062, "duplicate"),
        driver_error("psycopg.errors", "oh", sqlstate="23505"),
        sqlite3.OperationalError("no such table: t"),
        IntegrityError("INSERT", {}, Exception("unique")),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_none(error: BaseException) -> None:
    assert not deadlock(error)


def test_sqlite_that_is_busy_is_one(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/busy.db", connect_args={"timeout": 0})
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("CREATE TABLE t (id int)"))
        first.commit()
        first.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(DBAPIError) as raised:
            second.exec_driver_sql("BEGIN IMMEDIATE")
    engine.dispose()

    assert deadlock(raised.value)
    assert deadlock(sqlite3.OperationalError("database is locked"))


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
def test_a_lock_that_was_not_had_in_time_is_one(engine: Engine) -> None:
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("LOCK TABLE orders"))
        second.execute(text("SET LOCAL lock_timeout = 10"))
        with pytest.raises(DBAPIError) as raised:
            second.execute(text("LOCK TABLE orders"))

    assert deadlock(raised.value)

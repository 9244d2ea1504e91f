"""Errors that say: another transaction was in the way, try again."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

_SQLSTATES = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available in time
_MYSQL_CODES = {1020, 1205, 1213, 3572}  # record changed, lock wait timeout, deadlock, NOWAIT
_SQLITE_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def deadlock(error: BaseException) -> bool:
    """Whether the error is a deadlock, a serialization failure, a lock that was not had in time, or a busy SQLite.

    For every driver, raised by it or wrapped by SQLAlchemy: ``retry_on(deadlock, wait=5, attempts=3)``.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _is_busy(cause)
    return _sqlstate(cause) in _SQLSTATES or mysql_code(cause) in _MYSQL_CODES


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # made by hand, or by another wrapper
        return "is locked" in str(error)
    return (code & 0xFF) in _SQLITE_CODES  # the rest of the bits are details


def _sqlstate(error: object) -> object:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def mysql_code(error: object) -> object:
    """The number that PyMySQL and its like put first; only theirs, since any error may begin with a number."""
    module = type(error).__module__.partition(".")[0].lower()
    args = getattr(error, "args", ())
    return args[0] if args and module in _MYSQL_DRIVERS else None


_MYSQL_DRIVERS = {"pymysql", "mysqldb", "aiomysql", "asyncmy", "mysql", "mariadb"}

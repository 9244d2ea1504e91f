"""What a database answers when a job cannot be stored, as an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from tenantjobs.errors import EnqueueError
from tenantjobs_db.error_codes import mysql_code, sqlite_code, sqlstate

_SQLSTATES = {"42P01", "42703"}  # undefined table, undefined column
_MYSQL_CODES = {1054, 1146}  # unknown column, no such table
_BUSY = {5, 6}  # of SQLite: the file is locked, or one of its tables
_SQLITE = ("no such table: tj_", "no such column", "has no column named")


@contextmanager
def saying_what_is_missing() -> Iterator[None]:
    """Let a database without our tables, or with those of an older release, be an EnqueueError that says so."""
    try:
        yield
    except DBAPIError as error:
        say_what_is_missing(error)
        raise


@contextmanager
def saying_who_is_in_the_way() -> Iterator[None]:
    """Let a SQLite file that another transaction was writing for too long be an EnqueueError that says so."""
    try:
        yield
    except DBAPIError as error:
        say_who_is_in_the_way(error)
        raise


def say_what_is_missing(error: DBAPIError) -> None:
    """``EnqueueError`` if it is that."""
    if is_missing(error):
        raise EnqueueError(
            f"no job was enqueued: the database has not the tables of this release of tenantjobs ({error.orig}); "
            f"run `tenantjobs db upgrade`"
        ) from error


def say_who_is_in_the_way(error: DBAPIError) -> None:
    """``EnqueueError`` if it is that."""
    if _is_busy(error):
        raise EnqueueError(
            "no job was enqueued: another transaction was writing to the SQLite file of the queue for longer than "
            "[db] busy_timeout. If it is the application's own, in the same file, name its engine ([db] engine = "
            '"shop.db:engine"), and let jobs wait for the commit: then they are written in it'
        ) from error


def is_missing(error: DBAPIError) -> bool:
    """Whether one of our tables or columns is not there."""
    if sqlite_code(error) is not None:
        return any(text in str(error.orig) for text in _SQLITE)
    return sqlstate(error) in _SQLSTATES or mysql_code(error) in _MYSQL_CODES


def _is_busy(error: DBAPIError) -> bool:
    return sqlite_code(error) in _BUSY

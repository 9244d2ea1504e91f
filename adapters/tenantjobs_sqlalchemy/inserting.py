"""``insert_once``: a unique constraint as the guard of an effect."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tenantjobs_sqlalchemy.extension import is_made_by

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

# How databases say that a row of this key is there: SQLSTATE, error numbers of MariaDB and MySQL, names of SQLite.
UNIQUE = {"23505", 1062, "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}


@overload
def insert_once(session: Session, record: object) -> bool: ...
@overload
def insert_once(session: AsyncSession, record: object) -> Coroutine[Any, Any, bool]: ...
def insert_once(session: Session | AsyncSession, record: object) -> bool | Coroutine[Any, Any, bool]:
    """Insert ``record`` now: True the first time, False if a unique constraint says that it has been there.

    In a savepoint, so that the transaction goes on either way; of a transaction that has inserted the same and not
    ended yet, the end is waited for. Any other error is raised. Of an ``AsyncSession``, the coroutine to await.
    """
    if is_made_by(session, "AsyncSession", "async_scoped_session"):
        return session.run_sync(_insert, record)  # type: ignore[union-attr]  # of the extension
    return _insert(session, record)  # type: ignore[arg-type]  # what is left


def _insert(session: Session, record: object) -> bool:
    session.flush()  # what fails here is not about this record
    _begin(session)
    try:
        with session.begin_nested():
            session.add(record)
            session.flush()
    except IntegrityError as error:
        if not _is_duplicate(error):
            raise
        return False
    return True


def _begin(session: Session) -> None:
    # sqlite3 begins no transaction for a savepoint: releasing it would commit, whatever becomes of the rest.
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN")


def _is_duplicate(error: IntegrityError) -> bool:
    cause: Any = error.orig
    arguments = getattr(cause, "args", ())
    told = {getattr(cause, name, None) for name in ("sqlstate", "pgcode", "sqlite_errorname")}
    return not UNIQUE.isdisjoint(told | ({arguments[0]} if arguments and isinstance(arguments[0], int) else set()))

"""``insert_once``: a unique constraint as the guard of an effect."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstanceState, Session, scoped_session

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import extension

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

UNIQUE_SQLSTATE = "23505"
UNIQUE_MYSQL = 1062
UNIQUE_SQLITE = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
}


@overload
def insert_once(session: Session, record: object) -> bool: ...
@overload
def insert_once(session: AsyncSession, record: object) -> Awaitable[bool]: ...
def insert_once(session: Session | AsyncSession, record: object) -> bool | Awaitable[bool]:
    """Insert the new ``record``: True the first time, False if a unique constraint says that it is there already.

    It is inserted at once, in a savepoint: a False leaves the transaction and what it did before as they are, and
    ``record`` outside of the session. The row commits, or not, with the transaction. While another transaction is
    inserting the same, this waits for how that ends. For an ``AsyncSession`` the result is to be awaited.

    Any other ``IntegrityError`` is raised. ``ConfigurationError`` for what is no new record, or in a session already.
    """
    found = _in_place(session)
    if isinstance(found, Session):
        return _insert(found, record)
    if extension.is_async_session_class(type(found)):
        awaited: Awaitable[bool] = found.run_sync(_insert, record)
        return awaited
    raise ConfigurationError(f"insert_once({session!r:.80}, ...): a Session or an AsyncSession is wanted")


def _in_place(session: object) -> Any:
    """The session itself, or that of this thread or task."""
    is_scoped = isinstance(session, scoped_session) or extension.is_made_by(session, "async_scoped_session")
    return session() if is_scoped else session  # type: ignore[operator]  # a scoped session is called


def _insert(session: Session, record: object) -> bool:
    state = inspect(record, raiseerr=False)
    if not isinstance(state, InstanceState) or not state.transient:
        raise ConfigurationError(
            f"insert_once(session, {record!r:.80}): a new record that is in no session yet is wanted, as in "
            f"insert_once(session, Assignment(...))"
        )
    _begin_on_sqlite(session, state)
    # Flushes what waits in the session, so that what fails inside is this record's.
    savepoint = session.begin_nested()
    try:
        session.add(record)
        session.flush()
    except IntegrityError as error:
        savepoint.rollback()
        if not _is_unique(error.orig):
            raise
        return False
    except BaseException:
        savepoint.rollback()
        raise
    savepoint.commit()
    return True


def _begin_on_sqlite(session: Session, state: InstanceState[object]) -> None:
    """Python's driver begins no transaction for a savepoint, whose release would be the commit then."""
    connection = session.connection(bind_arguments={"mapper": state.mapper})
    if connection.dialect.name == "sqlite" and not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN")


def _is_unique(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode in UNIQUE_SQLITE
    if UNIQUE_SQLSTATE in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)):
        return True
    return getattr(error, "args", ())[:1] == (UNIQUE_MYSQL,)

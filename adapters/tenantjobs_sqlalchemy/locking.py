"""``locked``: a record that nobody else changes until the transaction ends, read again under the lock."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, Session

from tenantjobs.errors import ConfigurationError, RecordGone
from tenantjobs_sqlalchemy import extension
from tenantjobs_sqlalchemy.sentinel.statements import OWN_ROW

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

R = TypeVar("R")


class locked(Generic[R]):
    """``with locked(record) as record:`` - the record as it is now, and as it stays until the transaction ends.

    The row is locked (``SELECT ... FOR UPDATE``) in the transaction of the session that the record is in, and every
    attribute is read again. The lock lasts as long as that transaction, which the block does not end; its changes are
    flushed when the block is left. ``async with`` is for a record of an ``AsyncSession``.

    SQLite has no locks of rows: there the transaction becomes the one that writes to the database, and whoever else
    wants to write waits. If another one has written since this transaction first read, SQLite refuses at once with
    "database is locked": ``retry_on(deadlock)`` tries again, and locking before reading avoids it.

    ``RecordGone`` if the row does not exist any more; ``ConfigurationError`` for what is no record, is in no session,
    or has changes that are not flushed, which the reading would lose.
    """

    def __init__(self, record: R, /) -> None:
        self._record = record
        self._session: Session | None = None

    def __enter__(self) -> R:
        session = _session_of(self._record)
        if _async_session(session) is not None:
            raise ConfigurationError(f"{_name(self._record)} is in an AsyncSession: write `async with locked(...)`")
        self._session = session
        return _lock(session, self._record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._session is not None:
            self._session.flush()

    async def __aenter__(self) -> R:
        record = self._record
        return await self._asession().run_sync(lambda session: _lock(session, record))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._asession().flush()

    def _asession(self) -> AsyncSession:
        session = _async_session(self._session or _session_of(self._record))
        if session is None:
            raise ConfigurationError(f"{_name(self._record)} is in a synchronous Session: write `with locked(...)`")
        # The record may leave the session in the block, by its deletion.
        self._session = session.sync_session
        return session


def _session_of(record: object) -> Session:
    state = inspect(record, raiseerr=False)
    if not isinstance(state, InstanceState):
        raise ConfigurationError(f"locked({record!r:.80}): a record of a mapped class is wanted")
    if state.key is None or state.session is None:
        raise ConfigurationError(
            f"locked({_name(record)}): it is {'not in the database' if state.key is None else 'in no session'}, and a "
            f"lock belongs to the transaction of the session that has loaded the record: load it in one, or flush it"
        )
    session: Session = state.session
    return session


def _async_session(session: Session) -> AsyncSession | None:
    found: AsyncSession | None = extension.async_session_of(session)
    return found


def _lock(session: Session, record: R) -> R:
    state: InstanceState[Any] = inspect(record)
    if state.modified and session.is_modified(record):
        raise ConfigurationError(
            f"locked({_name(record)}): it has changes that are not flushed, and reading it again would lose them: lock "
            f"it first and change it then"
        )
    assert state.key is not None
    model, key = state.mapper.class_, state.key[1]
    if session.get_bind(state.mapper).dialect.name == "sqlite":
        _become_the_writer(session, state)
    found = session.get(model, key, populate_existing=True, with_for_update={"of": model})
    if found is None:
        raise RecordGone(f"{_name(record)} {key} does not exist any more; a job says what then, with discard_on(...)")
    return record


def _become_the_writer(session: Session, state: InstanceState[Any]) -> None:
    # An update of no row takes SQLite's one lock for writing, and neither fires a trigger nor sets an `onupdate`.
    connection = session.connection(bind_arguments={"mapper": state.mapper})
    quote = connection.dialect.identifier_preparer
    key = state.mapper.primary_key[0]
    column = quote.format_column(key)
    statement = f"UPDATE {quote.format_table(key.table)} SET {column} = {column} WHERE 0"
    connection.exec_driver_sql(statement, execution_options={OWN_ROW: True})


def _name(record: object) -> str:
    return type(record).__name__

"""``locked``: a record that nobody else changes until the transaction ends."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, TypeVar

from sqlalchemy import inspect, update
from sqlalchemy.exc import InvalidRequestError, NoInspectionAvailable
from sqlalchemy.orm import InstanceState, Session
from sqlalchemy.util import greenlet_spawn

from tenantjobs.errors import ConfigurationError, RecordGone

T = TypeVar("T")


class locked(Generic[T]):
    """``with locked(order) as order:`` - the row is locked and read again, before anything is decided by it.

    ``SELECT ... FOR UPDATE``, in the record's own session; what was changed and not flushed is flushed first. SQLite,
    which has no such lock, takes its one write lock by an update that changes nothing. The lock is held until the
    transaction ends, not only until the block does. ``RecordGone`` if there is no such row any more. A record of an
    ``AsyncSession`` wants ``async with``.
    """

    def __init__(self, record: T, /) -> None:
        self._record = record
        self._session, self._state = _session_of(record)

    def __enter__(self) -> T:
        _lock(self._session, self._state)
        return self._record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> T:
        await greenlet_spawn(_lock, self._session, self._state)
        return self._record

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def _session_of(record: object) -> tuple[Session, InstanceState[object]]:
    try:
        state: InstanceState[object] = inspect(record)
    except NoInspectionAvailable:
        raise ConfigurationError(f"locked({record!r:.80}): a record of a mapped class is wanted") from None
    if state.session is None or not state.persistent:
        raise ConfigurationError(
            f"locked() was given {type(record).__name__}, which is no stored record of an open session: add and flush "
            f"it, or load it, in the session whose transaction is to hold the lock"
        )
    return state.session, state


def _lock(session: Session, state: InstanceState[object]) -> None:
    session.flush()
    record = state.obj()
    try:
        if session.get_bind(state.mapper).dialect.name == "sqlite":
            # FOR UPDATE would be left out without a word.
            key = zip(state.mapper.primary_key, state.identity or (), strict=True)
            column = state.mapper.get_property_by_column(state.mapper.primary_key[0]).key
            session.execute(
                update(state.mapper)
                .where(*(column == value for column, value in key))
                .values({column: getattr(state.class_, column)})
                .execution_options(synchronize_session=False)
            )
        session.refresh(record, with_for_update=True)
    except InvalidRequestError as error:
        raise RecordGone(f"{state.class_.__name__} {state.identity} is gone: it cannot be locked") from error

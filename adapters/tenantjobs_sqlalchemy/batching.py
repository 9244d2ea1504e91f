"""Records in batches, each found by the key after the last one: no offset, which would skip and repeat under change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import ColumnElement, Select, inspect, tuple_
from sqlalchemy.orm import Mapper, Session

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy.sessions import current_session

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")


@overload  # SQLAlchemy 2.0 says what a statement selects as a tuple
def in_batches(
    statement: Select[tuple[T]], *, size: int = 1000, after: Any = None, session: Session | None = None
) -> Iterator[list[T]]: ...
@overload
def in_batches(
    statement: Select[T], *, size: int = 1000, after: Any = None, session: Session | None = None
) -> Iterator[list[T]]: ...
def in_batches(
    statement: Select[Any], *, size: int = 1000, after: Any = None, session: Session | None = None
) -> Iterator[list[Any]]:
    """The records of ``select(Model)`` in lists of ``size``, in the order of their primary key.

    ``after`` is the key that the first one comes after, such as the value of a cursor; of a key of many columns, the
    tuple. Without a ``session``, in that of the job. ``ConfigurationError`` for a statement that has an order, a limit
    or an offset, or that selects anything but whole records.
    """
    keyset = _Keyset(statement, size)
    found = current_session() if session is None else session
    return keyset.batches(found, after)


@overload  # SQLAlchemy 2.0 says what a statement selects as a tuple
def ain_batches(
    statement: Select[tuple[T]], *, size: int = 1000, after: Any = None, session: AsyncSession | None = None
) -> AsyncIterator[list[T]]: ...
@overload
def ain_batches(
    statement: Select[T], *, size: int = 1000, after: Any = None, session: AsyncSession | None = None
) -> AsyncIterator[list[T]]: ...
def ain_batches(
    statement: Select[Any], *, size: int = 1000, after: Any = None, session: AsyncSession | None = None
) -> AsyncIterator[list[Any]]:
    """The same for an async job."""
    keyset = _Keyset(statement, size)
    found = current_session() if session is None else session
    return keyset.abatches(found, after)


class _Keyset:
    def __init__(self, statement: Select[Any], size: int) -> None:
        if type(size) is not int or size < 1:
            raise ConfigurationError(f"in_batches(size={size!r}): a whole number from 1 on is wanted")
        self._mapper = _mapper(statement)
        self._key: list[Any] = [
            getattr(self._mapper.class_, self._mapper.get_property_by_column(column).key)
            for column in self._mapper.primary_key
        ]
        self._statement = statement.order_by(*self._key).limit(size)
        self._size = size

    def batches(self, session: Session, after: Any) -> Iterator[list[Any]]:
        while True:
            records = list(session.scalars(self._after(after)).unique())
            if records:
                after = self._last(records)  # now: whoever takes them may commit, and they expire
                yield records
            if len(records) < self._size:
                return

    async def abatches(self, session: AsyncSession, after: Any) -> AsyncIterator[list[Any]]:
        while True:
            records = list((await session.scalars(self._after(after))).unique())
            if records:
                after = self._last(records)
                yield records
            if len(records) < self._size:
                return

    def _after(self, after: Any) -> Select[Any]:
        if after is None:
            return self._statement
        condition: ColumnElement[bool] = (
            self._key[0] > after if len(self._key) == 1 else tuple_(*self._key) > tuple(after)
        )
        return self._statement.where(condition)

    def _last(self, records: list[Any]) -> Any:
        key = self._mapper.primary_key_from_instance(records[-1])
        return key[0] if len(key) == 1 else tuple(key)


def _mapper(statement: Select[Any]) -> Mapper[Any]:
    selected = statement.column_descriptions
    entity = selected[0]["expr"] if len(selected) == 1 else None
    mapper = inspect(entity, raiseerr=False)
    if not isinstance(mapper, Mapper):
        raise ConfigurationError("in_batches wants select(Model): one mapped class, and nothing beside it")
    # SQLAlchemy has no public way to ask a statement for these.
    if statement._order_by_clauses or statement._limit_clause is not None or statement._offset_clause is not None:
        raise ConfigurationError(
            "in_batches goes by the primary key, so that the statement can have no order, limit or offset: leave it out"
        )
    return mapper

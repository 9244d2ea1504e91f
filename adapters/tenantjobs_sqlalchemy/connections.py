"""Transactions of Core: a connection without a session, whose jobs follow it all the same."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import extension, levels, transactions, writing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


@overload
def begin(engine: Engine) -> AbstractContextManager[Connection]: ...
@overload
def begin(engine: AsyncEngine) -> AbstractAsyncContextManager[AsyncConnection]: ...
def begin(engine: Any) -> Any:
    """A connection with a transaction, as ``engine.begin()`` gives it; jobs that are enqueued inside follow it.

    For example::

        with tenantjobs_sqlalchemy.begin(engine) as connection:
            connection.execute(insert(orders).values(id=7))
            charge.perform_later(7)  # leaves with the commit at the end; an error drops it

    Savepoints (``connection.begin_nested()``) count too. With an ``AsyncEngine`` it is ``async with``.
    """
    if isinstance(engine, Engine):
        _follow(engine)
        return _begin(engine)
    elif extension.is_made_by(engine, "AsyncEngine"):
        _follow(engine.sync_engine)
        return _abegin(engine)
    raise ConfigurationError(f"begin({engine!r:.80}): an Engine or an AsyncEngine is wanted")


class ConnectionSession(Session):
    """Stands for a transaction of Core among the sessions that are followed. Nobody else uses it."""


@contextmanager
def _begin(engine: Engine) -> Iterator[Connection]:
    with ConnectionSession(engine) as session, session.begin():
        connection = session.connection()
        with _left_to_us(connection):
            yield connection


@asynccontextmanager
async def _abegin(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with extension.async_session_class()(engine, sync_session_class=ConnectionSession) as session:
        async with session.begin():
            connection = await session.connection()
            with _left_to_us(connection.sync_connection):
                yield connection


@contextmanager
def _left_to_us(connection: Connection | None) -> Iterator[None]:
    assert connection is not None
    transaction = connection.get_transaction()
    yield
    if connection.get_transaction() is not transaction:
        raise InvalidRequestError(
            "commit() or rollback() was called inside of `with tenantjobs_sqlalchemy.begin(engine)`, and the jobs of "
            "the block are dropped: the end of the block commits, an error rolls back, and begin_nested() is for less"
        )


def _follow(engine: Engine) -> None:
    transactions.follow(ConnectionSession)
    if engine not in _followed:
        _followed.add(engine)
        event.listen(engine, "after_cursor_execute", _executed)


def _executed(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    # By its statement: the event for savepoints is told no name, and comes before it is known to have worked.
    found = _SAVEPOINT.match(statement)
    root = _root(connection) if found is not None else None
    if found is not None and root is not None:
        verb, name = found.groups()
        if verb == "SAVEPOINT":
            root.nest(name)
        elif verb.startswith("RELEASE"):
            root.release(name)
        else:
            root.undo(name)


def _root(connection: Connection) -> levels.Root | None:
    session = writing.session_of(connection)
    return levels.root(session) if isinstance(session, ConnectionSession) else None


_SAVEPOINT = re.compile(r"(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT) (\S+)")
_followed: WeakSet[Engine] = WeakSet()

"""Jobs that wait for a commit: taken by the innermost open transaction, written with it or sent after it.

A job whose queue lives in the database of an open session is written by that session, together with all others of
its transaction, just before the commit. Any other job is sent after the commit, when no other transaction of
this context is open any more. A released savepoint hands its jobs up; whatever else ends a transaction drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from tenantjobs import transaction
from tenantjobs.adapter import Adapter, Joins
from tenantjobs.transaction import AsyncScope, Held, Scope
from tenantjobs_sqlalchemy import joining, levels, lingering, tracking, writing
from tenantjobs_sqlalchemy.extension import async_session_of

T = TypeVar("T")


class SessionTransactions:
    """The open transactions of all sessions that are followed, as ``tenantjobs.transaction`` asks for them."""

    def takes(self, adapter: Adapter) -> bool:  # noqa: ARG002  # any of them: the jobs of every queue wait
        return next(levels.open_sessions(), None) is not None

    def hold(self, held: Sequence[Held], adapter: Adapter) -> bool:
        session = _session_for(adapter)
        if session is None:
            return False
        level, root = levels.pair(session)
        level.wrote = level.wrote or writing.has_unsaved(session)
        if not root.watched:
            root.watched = True
            lingering.watch(session, level, root)
        level.jobs += [(job, adapter) for job in held]
        if root.finished and not root.flushing and joining.may_write(session):
            joining.write_late(session, level, held)
        return True

    def scope(self, queue: Joins) -> Scope | None:
        found = _joined(queue)
        if found is None or (async_session_of(found[0]) is not None and not in_greenlet()):
            return None
        return _OpenTransaction(*found)

    def ascope(self, queue: Joins) -> AsyncScope | None:
        found = _joined(queue)
        return None if found is None else _AsyncOpenTransaction(*found)

    def on_commit(self, callback: Callable[[], object]) -> bool:
        session = next(levels.open_sessions(), None)
        if session is None:
            return False
        level, _ = levels.pair(session)
        level.callbacks.append(callback)
        return True

    def obstacle(self, adapter: Adapter) -> str | None:
        for session in levels.open_sessions():
            if (why := joining.obstacle(session, adapter)) is not None:
                return why
        return None


def follow(session_class: type[Session]) -> None:
    """Let jobs follow the transactions of all sessions of this class and its subclasses."""
    tracking.track(session_class)
    transaction.register(_transactions)


def _session_for(adapter: Adapter) -> Session | None:
    """The innermost open session that writes the adapter's jobs itself, else the innermost one."""
    sessions = list(levels.open_sessions())
    for session in sessions:
        if joining.place_for(session, adapter) is not None:
            return session
    return sessions[0] if sessions else None


def _joined(queue: Joins) -> tuple[Session, Engine | Connection] | None:
    """The innermost open session that ``queue`` joins, and what to do it on."""
    for session in levels.open_sessions():
        _, root = levels.pair(session)
        bind = joining.bind_of(session, root, queue)
        if bind is not None:
            return session, bind
    return None


class _OpenTransaction:
    """The transaction of a session that somebody else has begun and will end."""

    def __init__(self, session: Session, bind: Engine | Connection) -> None:
        self._session = session
        self._bind = bind

    def run(self, function: Callable[[object], T]) -> T:
        connection = self._session.connection(bind_arguments={"bind": self._bind})
        # What is written on the connection is not seen by the session, and yet to be committed.
        level, _ = levels.pair(self._session)
        level.wrote = True
        return function(connection)


class _AsyncOpenTransaction:
    """The same for code that awaits."""

    def __init__(self, session: Session, bind: Engine | Connection) -> None:
        self._transaction = _OpenTransaction(session, bind)

    async def run(self, function: Callable[[object], T]) -> T:
        return await greenlet_spawn(lambda: self._transaction.run(function))


_transactions = SessionTransactions()

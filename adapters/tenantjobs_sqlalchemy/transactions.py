"""Jobs that wait for a commit: taken by the innermost open transaction, written with it or sent after it.

A job whose queue lives in the database of an open session is written by that session, together with all others of
its transaction, just before the commit. Any other job is sent after the commit, when no other transaction of
this context is open any more. A released savepoint hands its jobs up; whatever else ends a transaction drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from tenantjobs import transaction
from tenantjobs.adapter import Adapter
from tenantjobs.transaction import Held
from tenantjobs_sqlalchemy import joining, levels, lingering, tracking, writing


class SessionTransactions:
    """The open transactions of all sessions that are followed, as ``tenantjobs.transaction`` asks for them."""

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


_transactions = SessionTransactions()

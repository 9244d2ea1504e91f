"""The sessions that are followed, and what their events say about the transactions in them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from tenantjobs_sqlalchemy import joining, leaving, levels, writing
from tenantjobs_sqlalchemy.levels import Level, Root


def track(session_class: type[Session]) -> None:
    """Follow the transactions of all sessions of this class and its subclasses."""
    global _tracked
    if session_class not in _tracked:
        _tracked = (*_tracked, session_class)
    _listen()


def untrack_all() -> None:
    """Follow no sessions at all."""
    global _tracked
    _tracked = ()


def is_tracked(session: Session) -> bool:
    """Whether the transactions of this session are followed."""
    return isinstance(session, _tracked)


def _began(session: Session, _transaction: SessionTransaction) -> None:
    levels.note(session)


def _connected(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    levels.note(session)
    root = levels.root(session)
    if root is not None:
        root.connections[connection.engine] = connection
    writing.watch(session, connection)


def _added(session: Session, _record: object) -> None:
    levels.note(session)


def _lost(session: Session, _record: object) -> None:
    # A new record leaves the session without having been flushed, as all of them do when it is closed.
    level = levels.current(session)
    if level is not None:
        level.wrote = True


def _will_flush(session: Session, *_flush: object) -> None:
    root = levels.root(session)
    if root is not None:
        root.flushing = True


def _flushed(session: Session, *_flush: object) -> None:
    level, root = levels.pair(session)
    root.flushing = False
    if root.finished:
        joining.write(session, level)


def _will_commit(session: Session) -> None:
    levels.note(session)
    _, root = levels.pair(session)
    root.commits += 1
    # With a savepoint open this may be its release or, what cannot be told yet, the commit of the whole.
    if session.get_nested_transaction() is None:
        joining.finish(session, root)


def _committed(session: Session) -> None:
    level, root = levels.pair(session)
    level.committed = True
    root.commits -= 1


def _rolled_back(session: Session) -> None:
    level, _ = levels.pair(session)
    level.rolled_back = True


def _ended(session: Session, ended: SessionTransaction) -> None:
    level = levels.left(ended)
    if isinstance(level, Root):
        _root_ended(session, level)
    elif level is not None:
        outer = levels.around(ended)
        if outer is not None:
            _savepoint_ended(session, level, outer)


def _savepoint_ended(session: Session, level: Level, outer: Level) -> None:
    if level.committed:
        outer.take(level)
        if isinstance(outer, Root) and outer.commits:
            # The root commits with this savepoint still open, and will not be announced again.
            joining.finish(session, outer)
    elif level.rolled_back:
        level.drop("its savepoint was rolled back")
    else:
        # Closed from outside: either the transaction around it is being rolled back, or the whole session closed.
        outer.doubtful.append(level)
        outer.wrote = outer.wrote or level.wrote


def _root_ended(session: Session, root: Root) -> None:
    if root.committed:
        for savepoint in root.doubtful:
            savepoint.drop("its savepoint was closed without a commit")
        leaving.leave(session, root)
    elif root.rolled_back:
        root.drop("its transaction was rolled back")
    elif root.commits and not root.commit_asked:
        root.drop("its transaction failed before the commit")
    elif root.commits:
        leaving.leave_in_doubt(root)
    elif root.wrote:
        leaving.warn_of_loss(root)
        root.drop("its session wrote and was closed without a commit")
    else:
        while root.doubtful:
            root.take(root.doubtful.pop(0))
        leaving.leave(session, root)


def _listen() -> None:
    """Once and for good, to all sessions: whoever is tracked may change, and classes that inherit are heard once."""
    global _is_listening
    if _is_listening:
        return
    _is_listening = True
    for name, listener in _LISTENERS.items():
        # First of all after a commit: another listener's error must not make it look like none.
        event.listen(Session, name, _if_tracked(listener), insert=name == "after_commit")


def _if_tracked(listener: Callable[..., None]) -> Callable[..., None]:
    def heard(session: Session, *details: object) -> None:
        if isinstance(session, _tracked):
            listener(session, *details)

    return heard


_LISTENERS: dict[str, Callable[..., None]] = {
    "after_transaction_create": _began,
    "after_transaction_end": _ended,
    "after_begin": _connected,
    "transient_to_pending": _added,
    "pending_to_transient": _lost,
    "before_flush": _will_flush,
    "after_flush_postexec": _flushed,
    "before_commit": _will_commit,
    "after_commit": _committed,
    "after_rollback": _rolled_back,
}
_tracked: tuple[type[Session], ...] = ()
_is_listening = False

"""Jobs that wait for a commit: taken by the innermost open transaction, written with it or sent after it.

A job whose queue lives in the database of an open session is written by that session, together with all others of
its transaction, just before the commit. Any other job is sent after the commit, when no other transaction of
this context is open any more. A released savepoint hands its jobs up; whatever else ends a transaction drops them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from tenantjobs import transaction
from tenantjobs.adapter import Adapter, JoinsTransaction
from tenantjobs.errors import SerializationError
from tenantjobs.transaction import Held
from tenantjobs_sqlalchemy import levels, writing
from tenantjobs_sqlalchemy.extension import async_session_of
from tenantjobs_sqlalchemy.levels import Level, Root, Waiting, logger, named


class SessionTransactions:
    """The open transactions of all sessions that are tracked, as ``tenantjobs.transaction`` asks for them."""

    def hold(self, held: Sequence[Held], adapter: Adapter) -> bool:
        session = _session_for(adapter)
        if session is None:
            return False
        level, root = _levels(session)
        level.wrote = level.wrote or writing.has_unsaved(session)
        level.jobs += [(job, adapter) for job in held]
        if root.finished and not root.flushing and _may_write(session):
            _write_late(session, level, held)
        return True

    def on_commit(self, callback: Callable[[], object]) -> bool:
        session = next(levels.open_sessions(), None)
        if session is None:
            return False
        level, _ = _levels(session)
        level.callbacks.append(callback)
        return True


def track(session_class: type[Session]) -> None:
    """Follow the transactions of all sessions of this class, existing and future subclasses included."""
    if any(issubclass(session_class, tracked) for tracked in _tracked):
        return
    for tracked in [tracked for tracked in _tracked if issubclass(tracked, session_class)]:
        untrack(tracked)  # else its sessions would be heard twice
    _tracked.add(session_class)
    for name, listener in _LISTENERS.items():
        # First of all: another listener's error after a commit must not make it look like none.
        event.listen(session_class, name, listener, insert=name == "after_commit")


def untrack(session_class: type[Session]) -> None:
    """Follow them no more."""
    _tracked.discard(session_class)
    for name, listener in _LISTENERS.items():
        event.remove(session_class, name, listener)


def untrack_all() -> None:
    """Follow no sessions at all."""
    for session_class in list(_tracked):
        untrack(session_class)


def is_tracked(session: Session) -> bool:
    """Whether the transactions of this session are followed."""
    return isinstance(session, tuple(_tracked))


def _session_for(adapter: Adapter) -> Session | None:
    """The innermost open session that writes the adapter's jobs itself, else the innermost one."""
    sessions = list(levels.open_sessions())
    for session in sessions:
        if _bind_for(session, adapter) is not None:
            return session
    return sessions[0] if sessions else None


def _bind_for(session: Session, adapter: Adapter) -> Engine | Connection | None:
    """What the session is to write the adapter's jobs on; None if they do not belong into its transaction."""
    root = levels.root(session)
    if root is None or not isinstance(adapter, JoinsTransaction):
        return None
    for engine in root.connections:
        if adapter.joins(engine):
            return engine
    try:
        bind = session.get_bind()
    except Exception:  # a session with a rule of its own may know only with a model at hand: asked again at the commit
        return None
    return bind if adapter.joins(bind.engine) else None


def _began(session: Session, _transaction: SessionTransaction) -> None:
    levels.note(session)


def _connected(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    levels.note(session)
    root = levels.root(session)
    if root is not None:
        root.connections[connection.engine] = connection
    writing.watch(session, connection)


def _used(state: ORMExecuteState) -> None:
    # A transaction that began in another thread's or task's context counts in this one as soon as it is used here.
    levels.note(state.session)


def _added(session: Session, _record: object) -> None:
    levels.note(session)
    level = levels.current(session)
    if level is not None:
        level.wrote = True


def _will_flush(session: Session, *_flush: object) -> None:
    _, root = _levels(session)
    root.flushing = True


def _flushed(session: Session, *_flush: object) -> None:
    level, root = _levels(session)
    root.flushing = False
    if root.finished:
        _write(session, level)


def _will_commit(session: Session) -> None:
    levels.note(session)
    _, root = _levels(session)
    root.commits += 1
    # With a savepoint open this may be its release or, what cannot be told yet, the commit of the whole.
    if session.get_nested_transaction() is None:
        _finish(session, root)


def _committed(session: Session) -> None:
    level, root = _levels(session)
    level.committed = True
    root.commits -= 1


def _rolled_back(session: Session) -> None:
    level, _ = _levels(session)
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
            _finish(session, outer)
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
        _leave(session, root)
    elif root.rolled_back:
        root.drop("its transaction was rolled back")
    elif root.commits:
        root.drop("the commit of its transaction did not succeed")
    elif root.wrote:
        _warn_of_loss(root)
        root.drop("its session wrote and was closed without a commit")
    else:
        while root.doubtful:
            root.take(root.doubtful.pop(0))
        _leave(session, root)


def _finish(session: Session, root: Root) -> None:
    """The last moment before the commit: records get their keys, and what belongs into the transaction is written."""
    if root.jobs:
        session.flush()
        _write(session, root)
        if not any(other is not session for other in levels.open_sessions()):
            # Nothing else will save a record that has no key now: better no commit than a job that cannot be sent.
            for job, _ in root.jobs:
                if not job.cancelled:
                    job.seal()
    root.flushing = False
    root.finished = True


def _write(session: Session, level: Level) -> None:
    """Write the jobs of ``level`` that belong into this transaction, by one statement."""
    for adapter, jobs in _by_adapter(level.jobs):
        bind = _bind_for(session, adapter)
        if bind is None or not isinstance(adapter, JoinsTransaction):
            continue
        envelopes = [job.seal() for job in jobs]
        if envelopes:
            adapter.enqueue_within(session.connection(bind_arguments={"bind": bind}), envelopes)
        level.jobs = [waiting for waiting in level.jobs if waiting[1] is not adapter]
        level.written += jobs


def _write_late(session: Session, level: Level, held: Sequence[Held]) -> None:
    """Write what was enqueued after the jobs of this commit have been written."""
    try:
        try:
            _write(session, level)
        except SerializationError:
            session.flush()
            _write(session, level)
    except BaseException:
        level.jobs = [waiting for waiting in level.jobs if waiting[0] not in held]
        raise


def _may_write(session: Session) -> bool:
    current = session.get_nested_transaction() or session.get_transaction()
    return current is not None and current.is_active


def _leave(session: Session, root: Root) -> None:
    """The transaction is over and well: on to the next one that is open in this context, or else to the queue."""
    written, jobs, callbacks = root.written, root.jobs, root.callbacks
    root.clear()
    for job in written:
        job.sent()
    following = next(levels.open_sessions(), None)
    if following is not None:
        level, _ = _levels(following)
        level.jobs += jobs
        level.callbacks += callbacks
        return
    try:
        for adapter, held in _by_adapter(jobs):
            _send(session, held, adapter)
    finally:
        for callback in callbacks:
            _call(callback)


def _send(session: Session, held: Sequence[Held], adapter: Adapter) -> None:
    if _is_awaited(session):
        # The queue's own I/O would stop the event loop that this commit is awaited in.
        await_only(asyncio.to_thread(transaction.send, held, adapter))
    else:
        transaction.send(held, adapter)


def _is_awaited(session: Session) -> bool:
    return async_session_of(session) is not None and in_greenlet()


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        logger.exception("a callback of on_commit failed; its transaction is committed: %r", callback)


def _warn_of_loss(root: Root) -> None:
    lost = [named(root.waiting)] if root.waiting else []
    lost += [f"{len(root.callbacks)} callbacks of on_commit"] if root.callbacks else []
    if lost:
        logger.warning(
            "dropped %s: the session that they waited for wrote and was closed without a commit; commit it, as in "
            "`with Session.begin() as session:`",
            " and ".join(lost),
        )


def _by_adapter(jobs: Sequence[Waiting]) -> list[tuple[Adapter, list[Held]]]:
    """The jobs of each adapter, in their order, without those that were taken back."""
    found: dict[int, tuple[Adapter, list[Held]]] = {}
    for job, adapter in jobs:
        _, held = found.setdefault(id(adapter), (adapter, []))
        if not job.cancelled:
            held.append(job)
    return list(found.values())


def _levels(session: Session) -> tuple[Level, Root]:
    level, root = levels.current(session), levels.root(session)
    assert level is not None
    assert root is not None
    return level, root


_LISTENERS: dict[str, Callable[..., None]] = {
    "after_transaction_create": _began,
    "after_transaction_end": _ended,
    "after_begin": _connected,
    "do_orm_execute": _used,
    "transient_to_pending": _added,
    "before_flush": _will_flush,
    "after_flush_postexec": _flushed,
    "before_commit": _will_commit,
    "after_commit": _committed,
    "after_rollback": _rolled_back,
}
_tracked: WeakSet[type[Session]] = WeakSet()

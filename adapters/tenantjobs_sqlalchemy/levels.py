"""The open transactions of this context, and what waits for each of them.

A session has one root transaction and any number of savepoints in it; each of them is a level. The transactions that a
flush makes for itself are none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, SessionTransaction

from tenantjobs.adapter import Adapter
from tenantjobs.transaction import Held

logger = logging.getLogger("tenantjobs.sqlalchemy")

Waiting = tuple[Held, Adapter]


class Level:
    """What waits for the end of one savepoint."""

    def __init__(self) -> None:
        self.jobs: list[Waiting] = []
        self.written: list[Held] = []  # in the database, as much as the rest of the transaction is
        self.to_publish: list[Waiting] = []  # those of them that are in the outbox
        self.callbacks: list[Callable[[], object]] = []
        self.doubtful: list[Level] = []  # savepoints that ended without a word
        self.wrote = False
        self.committed = False
        self.rolled_back = False

    @property
    def waiting(self) -> list[Held]:
        """All jobs that are not on their way yet."""
        doubtful = (job for level in self.doubtful for job in level.waiting)
        return [*self.written, *(job for job, _ in self.jobs), *doubtful]

    def take(self, released: Level) -> None:
        """Go on with what a released savepoint held."""
        self.jobs += released.jobs
        self.written += released.written
        self.to_publish += released.to_publish
        self.callbacks += released.callbacks
        self.doubtful += released.doubtful
        self.wrote = self.wrote or released.wrote
        released.doubtful = []
        released.clear()

    def drop(self, reason: str) -> None:
        """Tell every job that it does not take place."""
        jobs = self.waiting
        self.clear()
        for job in jobs:
            job.dropped(reason)

    def clear(self) -> None:
        for level in self.doubtful:
            level.clear()
        self.jobs, self.written, self.to_publish, self.callbacks, self.doubtful = [], [], [], [], []

    def __del__(self) -> None:
        # The session was forgotten with its transaction open: its connection rolls back, and no event says so.
        if jobs := self.waiting:
            logger.warning(
                "dropped %s: the session that they waited for was never closed; commit it, or close it", named(jobs)
            )
            self.drop("its session was forgotten with its transaction open")


class Root(Level):
    """What waits for the end of one root transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: dict[Engine, Connection] = {}
        self.savepoints: list[
            tuple[str, Level]
        ] = []  # of the connection itself, where there is no session: innermost last
        self.commits = 0  # commits that have begun and not ended: of this transaction, or of savepoints in it
        self.watched = False  # for jobs that wait too long
        self.commit_asked = False  # of the database; what came of it, is to be seen
        self.locked = False  # something was executed that writes, whatever was rolled back since
        self.flushing = False
        self.finished = False  # what belongs into the transaction has been written: its commit is next

    def nest(self, name: str) -> None:
        """A savepoint of the connection begins."""
        self.savepoints.append((name, Level()))

    def release(self, name: str | None = None) -> None:
        """Go on with what the savepoints from ``name`` on held; all of them, as a commit does, without a name."""
        while self.savepoints:
            released, level = self.savepoints.pop()
            (self.savepoints[-1][1] if self.savepoints else self).take(level)
            if released == name:
                return

    def undo(self, name: str) -> None:
        """Drop what the savepoints from ``name`` on held."""
        while self.savepoints:
            undone, level = self.savepoints.pop()
            level.drop("its savepoint was rolled back")
            if undone == name:
                return


def note(session: Session) -> None:
    """Count the session among those of this context, from here on, if it has a transaction."""
    root = session.get_transaction()
    if root is None:
        return
    seen = _opened.get()
    if seen and seen[-1]() is root:
        return  # nearly always
    if not any(reference() is root for reference in seen):
        level_of(root)
        _opened.set((*(reference for reference in seen if _is_open(reference())), ref(root)))


def open_sessions() -> Iterator[Session]:
    """The sessions of this context that have an open transaction, the innermost first."""
    for reference in reversed(_opened.get()):
        transaction = reference()
        if transaction is not None and transaction in _levels:
            session: Session | None = transaction.session
            if session is not None and session.get_transaction() is transaction:  # else it is being closed
                yield session


@contextmanager
def apart() -> Iterator[None]:
    """A part of this context that does not know of the transactions which are open around it."""
    token = _opened.set(())
    try:
        yield
    finally:
        _opened.reset(token)


def level_of(transaction: SessionTransaction) -> Level:
    """The level of a root transaction or a savepoint."""
    level = _levels.get(transaction)
    if level is None:
        level = _levels[transaction] = Root() if transaction.parent is None else Level()
    return level


def current(session: Session) -> Level | None:
    """The innermost level of the session, None if it has no transaction."""
    transaction = session.get_nested_transaction() or session.get_transaction()
    level = None if transaction is None else level_of(transaction)
    return level.savepoints[-1][1] if isinstance(level, Root) and level.savepoints else level


def root(session: Session) -> Root | None:
    """The outermost level of the session, None if it has no transaction."""
    transaction = session.get_transaction()
    level = None if transaction is None else level_of(transaction)
    return level if isinstance(level, Root) else None


def pair(session: Session) -> tuple[Level, Root]:
    """The innermost and the outermost level of a session that has a transaction."""
    innermost, outermost = current(session), root(session)
    assert innermost is not None
    assert outermost is not None
    return innermost, outermost


def left(transaction: SessionTransaction) -> Level | None:
    """The level of a transaction that has ended; None for that of a flush."""
    return _levels.pop(transaction, None)


def around(transaction: SessionTransaction) -> Level | None:
    """The level that a savepoint lies in; None for a root transaction."""
    outer = transaction.parent
    while outer is not None and outer.parent is not None and not outer.nested:
        outer = outer.parent
    return None if outer is None else level_of(outer)


def by_adapter(jobs: Sequence[Waiting]) -> list[tuple[Adapter, list[Held]]]:
    """The jobs of each adapter, in their order, without those that were taken back."""
    found: dict[int, tuple[Adapter, list[Held]]] = {}
    for job, adapter in jobs:
        _, held = found.setdefault(id(adapter), (adapter, []))
        if not job.cancelled:
            held.append(job)
    return list(found.values())


def named(jobs: Iterable[Held]) -> str:
    """The jobs as a log line names them."""
    return ", ".join(f"{job.name} id={job.job_id}" for job in jobs)


def _is_open(transaction: SessionTransaction | None) -> bool:
    return transaction is not None and transaction in _levels


_levels: WeakKeyDictionary[SessionTransaction, Level] = WeakKeyDictionary()
_opened: ContextVar[tuple[ref[SessionTransaction], ...]] = ContextVar("tenantjobs_sqlalchemy_opened", default=())

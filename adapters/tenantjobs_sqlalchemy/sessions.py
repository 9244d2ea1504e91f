"""The session of a job: one for each attempt, committed when the job returns and rolled back when it raises."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from tenantjobs.errors import ConfigurationError, StepError
from tenantjobs.transaction import AsyncWorkScope, WorkScope
from tenantjobs_sqlalchemy import factories, levels, writing
from tenantjobs_sqlalchemy.factories import Colour
from tenantjobs_sqlalchemy.levels import logger

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")


def current_session() -> Any:
    """The session of the job that is being performed: a ``Session``, or an ``AsyncSession`` in an async job.

    It is committed and closed when the job returns; closing it over what was written is a ``ConfigurationError``.

    ``ConfigurationError`` outside of a job, in a job that is declared with ``session=False``, and where no factory
    for the colour of the job is installed.
    """
    session = in_job()
    if session is None:
        raise ConfigurationError(
            "current_session() is the session of the job that is being performed, and there is none: outside of jobs, "
            "under perform_now too, and in a job with session=False, make a session yourself"
        )
    return session


def in_job() -> Session | AsyncSession | None:
    """The same, or None outside of a job. ``ConfigurationError`` where no factory for the colour is installed."""
    session = _current.get()
    if isinstance(session, Missing):
        raise ConfigurationError(session.message)
    return session


def is_missing() -> bool:
    """Whether the job that is being performed has no session because nothing makes one of its colour."""
    return isinstance(_current.get(), Missing)


class Missing:
    """What stands for the session of a job when nothing makes one of its colour. Many jobs never ask for it."""

    def __init__(self, colour: Colour) -> None:
        job, wanted, other = {
            "sync": ("a synchronous job", "a sessionmaker", "the job `async def`"),
            "async": ("an async job", "an async_sessionmaker", "the job `def`"),
        }[colour]
        self.message = (
            f"{job} needs a session, and what is installed makes none for it: call "
            f"tenantjobs_sqlalchemy.install(...) with {wanted} too, or make {other}"
        )


class SessionWork:
    """The port ``tenantjobs.transaction.Work`` over what is installed."""

    @contextmanager
    def session(self, *, kept_for: str | None = None) -> Iterator[WorkScope]:
        factory = factories.installed("sync")
        if factory is None:
            with _in_place(Missing("sync")):
                yield WithoutSession()
            return
        with factory.make() as session, factory.in_place(session), _in_place(session):
            # Begun at once, so that whatever the job enqueues shares its fate, also before its first statement.
            transaction = session.begin()
            kept = None if kept_for is None else Kept(session, transaction, kept_for)
            lent = kept or Lent(session)
            try:
                yield SessionScope(session, kept)
                lent.give_back()
                session.commit()
            except BaseException:
                with _logged():
                    lent.give_back()
                    session.rollback()
                raise

    @asynccontextmanager
    async def asession(self, *, kept_for: str | None = None) -> AsyncIterator[AsyncWorkScope]:
        factory = factories.installed("async")
        if factory is None:
            with _in_place(Missing("async")):
                yield WithoutAsyncSession()
            return
        async with factory.make() as session:
            with factory.in_place(session), _in_place(session):
                await session.begin()
                transaction = session.sync_session.get_transaction()
                kept = None if kept_for is None else Kept(session, transaction, kept_for)
                lent = kept or Lent(session)
                try:
                    yield AsyncSessionScope(session, kept)
                    lent.give_back()
                    await session.commit()
                except BaseException:
                    with _logged():
                        lent.give_back()
                        await session.rollback()
                    raise

    @contextmanager
    def without(self) -> Iterator[None]:
        with _in_place(None):
            yield


class Lent:
    """A session that the job may not close over what it wrote: that would be lost without a word."""

    def __init__(self, session: Session | AsyncSession) -> None:
        self._session = session
        session.__dict__["close"] = self._close

    def give_back(self) -> None:
        self._session.__dict__.pop("close", None)

    def _close(self) -> Any:
        # An error that leaves a `with` block closes too, and is what the job is judged by.
        if sys.exception() is None and self._has_written():
            raise ConfigurationError(
                "the session of a job was closed by the job, and what it wrote would be lost: it is committed and "
                "closed when the job returns, so leave out close(), and `with` around current_session(); commit() "
                "what is to stay in any case, rollback() what is not"
            )
        return type(self._session).close(self._session)  # type: ignore[arg-type]  # of its own class

    def _has_written(self) -> bool:
        session = self._session if isinstance(self._session, Session) else self._session.sync_session
        level, root = levels.current(session), levels.root(session)
        return any(each is not None and each.wrote for each in (level, root)) or writing.has_unsaved(session)


class Kept:
    """A transaction that the job may not end: its key or completion commits with its work, and never without it."""

    VERBS = ("commit", "rollback", "close", "reset", "invalidate")

    def __init__(self, session: Session | AsyncSession, transaction: SessionTransaction | None, job: str) -> None:
        self._sessions = [session, *filter(None, [getattr(session, "sync_session", None)])]
        self._transaction = transaction
        self._job = job
        for each in self._sessions:
            for verb in self.VERBS:
                # On the object itself: no event comes before a rollback.
                each.__dict__[verb] = self._refusing(verb)

    def check(self) -> None:
        """``ConfigurationError`` if it was ended all the same, by a way around the session."""
        if self._sessions[-1].get_transaction() is not self._transaction:
            raise ConfigurationError(self._message("its transaction was ended"))

    def give_back(self) -> None:
        for each in self._sessions:
            for verb in self.VERBS:
                each.__dict__.pop(verb, None)

    def _refusing(self, verb: str) -> Callable[..., Any]:
        def refuse(*_: object, **__: object) -> Any:
            raise ConfigurationError(self._message(f"{verb}() was called on its session"))

        return refuse

    def _message(self, what: str) -> str:
        return (
            f"job {self._job}: {what}, and its key or completion is to commit together with its work: leave the "
            f"transaction to the job, use a savepoint (session.begin_nested()), or a session of your own for what is "
            f"to last in any case"
        )


class SessionScope:
    """What the way of a job asks of its session."""

    def __init__(self, session: Session, kept: Kept | None = None) -> None:
        self._session = session
        self._kept = kept

    def run(self, function: Callable[[object], T]) -> T:
        if self._kept is not None:
            self._kept.check()
        return function(self._session.connection())

    def before_commit(self, function: Callable[[object], None]) -> None:
        if self._kept is not None:
            self._kept.check()
        _before_commit(self._session, function)

    def checkpoint(self, function: Callable[[object], None]) -> None:
        _refuse_savepoint(self._session)
        self._session.flush()
        function(self._session.connection())
        self._session.commit()
        _begin(self._session)

    def roll_back(self) -> None:
        self._session.rollback()
        _begin(self._session)


class AsyncSessionScope:
    """The same of an ``AsyncSession``."""

    def __init__(self, session: AsyncSession, kept: Kept | None = None) -> None:
        self._session = session
        self._kept = kept

    async def run(self, function: Callable[[object], T]) -> T:
        if self._kept is not None:
            self._kept.check()
        return await self._session.run_sync(lambda session: function(session.connection()))

    def before_commit(self, function: Callable[[object], None]) -> None:
        if self._kept is not None:
            self._kept.check()
        _before_commit(self._session.sync_session, function)

    async def checkpoint(self, function: Callable[[object], None]) -> None:
        _refuse_savepoint(self._session.sync_session)
        await self._session.flush()
        await self._session.run_sync(lambda session: function(session.connection()))
        with _unexpired(self._session.sync_session):
            await self._session.commit()
        await self._session.run_sync(_begin)

    async def roll_back(self) -> None:
        await self._session.rollback()
        await self._session.run_sync(_begin)


class WithoutSession:
    """A job without a session has no connection: what it completes, it completes in a transaction of its own."""

    def run(self, function: Callable[[object], T]) -> T:
        return function(None)

    def before_commit(self, function: Callable[[object], None]) -> None:
        function(None)

    def checkpoint(self, function: Callable[[object], None]) -> None:
        function(None)

    def roll_back(self) -> None:
        pass


class WithoutAsyncSession:
    """The same for an async job."""

    async def run(self, function: Callable[[object], T]) -> T:
        return function(None)

    def before_commit(self, function: Callable[[object], None]) -> None:
        function(None)

    async def checkpoint(self, function: Callable[[object], None]) -> None:
        function(None)

    async def roll_back(self) -> None:
        pass


def _refuse_savepoint(session: Session) -> None:
    if session.in_nested_transaction():
        raise StepError(
            "a checkpoint commits what the job has done, and there is a savepoint open in its session, which would be "
            "released with it: let `with session.begin_nested()` end before the step or the cursor moves on"
        )


def _begin(session: Session) -> None:
    # As at the beginning: what the job enqueues before its next statement shares the fate of what follows.
    if not session.in_transaction():
        session.begin()


@contextmanager
def _unexpired(session: Session) -> Iterator[None]:
    """The records of an async job stay readable over a commit in its middle: nobody could await their refresh."""
    before, session.expire_on_commit = session.expire_on_commit, False
    try:
        yield
    finally:
        session.expire_on_commit = before


def _before_commit(session: Session, function: Callable[[object], None]) -> None:
    """Call ``function`` last of all, after the jobs that this transaction writes."""

    def last(session: Session) -> None:
        if session.get_nested_transaction() is None:  # else a savepoint is released on the way
            session.flush()
            function(session.connection())

    # The listeners of the class, those that write jobs among them, are called before those of the session itself.
    event.listen(session, "before_commit", last)


@contextmanager
def _in_place(session: Session | AsyncSession | Missing | None) -> Iterator[None]:
    token = _current.set(session)
    try:
        # What a job enqueues must not wait for a transaction of whoever happens to perform it.
        with levels.apart():
            yield
    finally:
        _current.reset(token)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:
        # What made the job fail matters more; closing the session gives the connection up in any case.
        logger.warning("the session of a failed job could not be rolled back", exc_info=True)


_current: ContextVar[Session | AsyncSession | Missing | None] = ContextVar(
    "tenantjobs_sqlalchemy_session", default=None
)

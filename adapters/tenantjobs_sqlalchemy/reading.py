"""Where records are looked up: in the session of the job, else in an open one of this context, else in a short one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.orm import Session
from sqlalchemy.util.concurrency import in_greenlet

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy import factories, levels, sessions
from tenantjobs_sqlalchemy.extension import async_session_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")
Load = Callable[[Session], T]


def read(load: Load[T]) -> T:
    """What ``load`` finds. A record that comes of a short session is detached."""
    session = _within_reach()
    return _alone(load) if session is None else load(session)


async def aread(load: Load[T], *, detached: bool = False) -> T:
    """The same with await. An async job without an async factory reads only what may be ``detached``."""
    if not detached:
        sessions.in_job()
    session = _awaited_within_reach()
    if session is not None:
        return await session.run_sync(load)
    factory = factories.installed("async")
    if factory is None:
        return await asyncio.to_thread(_alone, load)
    async with factory.make() as session:
        found: T = await session.run_sync(load)
        return found


def _within_reach() -> Session | None:
    session = None if sessions.is_missing() else sessions.in_job()
    if isinstance(session, Session):
        return session
    if session is not None and in_greenlet():
        return session.sync_session
    return next((opened for opened in levels.open_sessions() if async_session_of(opened) is None), None)


def _awaited_within_reach() -> AsyncSession | None:
    session = None if sessions.is_missing() else sessions.in_job()
    if session is not None and not isinstance(session, Session):
        return session
    opened = (async_session_of(opened) for opened in levels.open_sessions())
    return next((session for session in opened if session is not None), None)


def _alone(load: Load[T]) -> T:
    factory = factories.installed("sync")
    if factory is None:
        raise ConfigurationError(
            "a record has to be loaded here without await, and what is installed makes only async sessions: call "
            "tenantjobs_sqlalchemy.install(...) with a sessionmaker too; in async jobs, attributes of Current that "
            "are marked load=True are awaited"
        )
    with factory.make() as session:
        return load(session)

"""The end of a transaction as the jobs that waited for it see it: sent, handed on, or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from tenantjobs import adapter as adapters
from tenantjobs import outbox, transaction
from tenantjobs.adapter import Adapter
from tenantjobs.errors import EnqueueError
from tenantjobs.transaction import Held
from tenantjobs_sqlalchemy import levels
from tenantjobs_sqlalchemy.changes import settled
from tenantjobs_sqlalchemy.extension import async_session_of
from tenantjobs_sqlalchemy.levels import Root, Waiting, by_adapter, logger, named

UNCONFIRMED = "the commit failed or its answer was lost, so that it is not known whether it took place"


def leave(session: Session, root: Root) -> None:
    """The transaction is over and well: on to the next one that is open in this context, or else to the queue."""
    written, to_publish, jobs, callbacks = root.written, root.to_publish, root.jobs, root.callbacks
    root.clear()
    for job in written:
        job.sent()
    for adapter, published in by_adapter(to_publish):
        _outside(session, _publish, published, adapter)
    following = next(levels.open_sessions(), None)
    if following is not None:
        level, _ = levels.pair(following)
        level.jobs += jobs
        level.callbacks += callbacks
        return
    _warn_of_bypass(root, jobs)
    try:
        for adapter, held in by_adapter(jobs):
            _outside(session, transaction.send, held, adapter)
    finally:
        for callback in settled(callbacks):
            _call(callback)


def leave_in_doubt(root: Root) -> None:
    """The commit was asked for, and was not confirmed: only the database knows whether it took place."""
    waiting, callbacks = root.waiting, len(root.callbacks)
    written = {job.job_id for job in root.written}
    root.clear()
    for job in waiting:
        if not job.cancelled:
            fate = "it is in the queue, or in the outbox" if job.job_id in written else "it was not sent, even"
            job.failed(EnqueueError(f"job {job.name} id={job.job_id}: {UNCONFIRMED}; {fate} if it did"))
    if callbacks:
        logger.error("%d callbacks of on_commit were not called: %s", callbacks, UNCONFIRMED)


def warn_of_loss(root: Root) -> None:
    lost = [named(root.waiting)] if root.waiting else []
    lost += [f"{len(root.callbacks)} callbacks of on_commit"] if root.callbacks else []
    if lost:
        logger.warning(
            "dropped %s: the session that they waited for wrote and was closed without a commit; commit it, as in "
            "`with Session.begin() as session:`",
            " and ".join(lost),
        )


def _warn_of_bypass(root: Root, jobs: Sequence[Waiting]) -> None:
    """Say once for each engine that its jobs go past the outbox, which is in another database as far as is known."""
    box = outbox.configured() if jobs and root.commit_asked else None
    queued = [job for job, target in jobs if box is not None and target is adapters.configured()]
    if box is None or not queued or any(box.joins(engine) for engine in root.connections):
        return
    for engine in set(root.connections) - set(_bypassing):
        _bypassing.add(engine)
        logger.warning(
            "outbox = true, and %s is sent after the commit without it: the session works with %r, which is not the "
            "engine that [db] engine names. This is said once",
            named(queued),
            engine,
        )


def _publish(held: Sequence[Held], adapter: Adapter) -> None:
    box = outbox.configured()
    if box is not None:
        box.publish([job.seal() for job in held], adapter)


def _outside(session: Session, send: Callable[[Sequence[Held], Adapter], None], *what: Any) -> None:
    if _is_awaited(session):
        # The queue's own I/O would stop the event loop that this commit is awaited in.
        await_only(asyncio.to_thread(send, *what))
    else:
        send(*what)


def _is_awaited(session: Session) -> bool:
    return async_session_of(session) is not None and in_greenlet()


def _call(callback: Callable[[], object]) -> None:
    try:
        transaction.call(callback)
    except Exception:
        logger.exception("a callback of on_commit failed; its transaction is committed: %r", callback)


_bypassing: WeakSet[Engine] = WeakSet()

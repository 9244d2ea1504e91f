"""Jobs whose queue lives in the database of a session: written in its transaction, just before the commit."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from tenantjobs.adapter import JoinsTransaction
from tenantjobs.errors import SerializationError
from tenantjobs.transaction import Held
from tenantjobs_sqlalchemy import levels
from tenantjobs_sqlalchemy.levels import Level, Root, by_adapter


def bind_for(session: Session, adapter: object) -> Engine | Connection | None:
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


def finish(session: Session, root: Root) -> None:
    """The last moment before the commit: records get their keys, and what belongs into the transaction is written."""
    if root.jobs:
        session.flush()
        write(session, root)
        if not any(other is not session for other in levels.open_sessions()):
            # Nothing else will save a record that has no key now: better no commit than a job that cannot be sent.
            for job, _ in root.jobs:
                if not job.cancelled:
                    job.seal()
    root.flushing = False
    root.finished = True


def write(session: Session, level: Level) -> None:
    """Write the jobs of ``level`` that belong into this transaction, by one statement."""
    for adapter, jobs in by_adapter(level.jobs):
        bind = bind_for(session, adapter)
        if bind is None or not isinstance(adapter, JoinsTransaction):
            continue
        envelopes = [job.seal() for job in jobs]
        if envelopes:
            adapter.enqueue_within(session.connection(bind_arguments={"bind": bind}), envelopes)
        level.jobs = [waiting for waiting in level.jobs if waiting[1] is not adapter]
        level.written += jobs


def write_late(session: Session, level: Level, held: Sequence[Held]) -> None:
    """Write what was enqueued after the jobs of this commit have been written."""
    try:
        try:
            write(session, level)
        except SerializationError:
            session.flush()
            write(session, level)
    except BaseException:
        level.jobs = [waiting for waiting in level.jobs if waiting[0] not in held]
        raise


def may_write(session: Session) -> bool:
    current = session.get_nested_transaction() or session.get_transaction()
    return current is not None and current.is_active

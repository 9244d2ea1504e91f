"""Jobs whose queue, or outbox, lives in the database of a session: written in its transaction, before the commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, StaticPool
from sqlalchemy.orm import Session

from tenantjobs import adapter as adapters
from tenantjobs import outbox
from tenantjobs.adapter import Adapter, Joins, JoinsTransaction
from tenantjobs.admission import admit
from tenantjobs.errors import SerializationError
from tenantjobs.outbox import Outbox
from tenantjobs.transaction import Held
from tenantjobs_sqlalchemy import levels
from tenantjobs_sqlalchemy.levels import Level, Root, by_adapter


class Place(NamedTuple):
    """Where a session writes the jobs of an adapter: into its queue, or into the outbox on the way to it."""

    bind: Engine | Connection
    writer: JoinsTransaction | Outbox


def place_for(session: Session, adapter: Adapter) -> Place | None:
    """Where the session is to write the adapter's jobs; None if they do not belong into its transaction."""
    root = levels.root(session)
    if root is None:
        return None
    if isinstance(adapter, JoinsTransaction) and (bind := bind_of(session, root, adapter)) is not None:
        return Place(bind, adapter)
    # The outbox is on the way to the configured queue, and to nothing else that waits for a commit.
    box = outbox.configured() if adapter is adapters.configured() else None
    # Of a connection from outside nobody knows when it commits, so that nobody would know when to publish.
    if box is None or isinstance(session.bind, Connection) or (bind := bind_of(session, root, box)) is None:
        return None
    return Place(bind, box)


def bind_of(session: Session, root: Root, writer: Joins) -> Engine | Connection | None:
    for engine in root.connections:
        if writer.joins(engine):
            return engine
    try:
        bind = session.get_bind()
    except Exception:  # a session with a rule of its own may know only with a model at hand: asked again at the commit
        return None
    return bind if writer.joins(bind.engine) else None


def obstacle(session: Session, adapter: Adapter) -> str | None:
    """Why the adapter cannot store a job by itself while this session is open; None if it can."""
    root = levels.root(session)
    if root is None or not isinstance(adapter, JoinsTransaction):
        return None
    for engine in root.connections:
        if engine.dialect.name != "sqlite" or not adapter.joins(engine):
            continue
        if isinstance(engine.pool, StaticPool):
            return "the queue is on the one connection of a SQLite database in memory, whose transaction is open"
        elif root.locked:
            return "this transaction has written to the SQLite file of the queue, which has one writer at a time"
    return None


def finish(session: Session, root: Root) -> None:
    """The last moment before the commit: records get their keys, and what belongs into the transaction is written."""
    root.release()
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
    """Write the jobs of ``level`` that belong into this transaction, those of each adapter by one statement."""
    for adapter, jobs in by_adapter(level.jobs):
        place = place_for(session, adapter)
        if place is None:
            continue
        envelopes = [job.seal() for job in jobs]
        if envelopes:
            connection = session.connection(bind_arguments={"bind": place.bind})
            jobs = list(admit(jobs, adapter, connection))
            envelopes = [job.seal() for job in jobs]  # of those whose locks were free
            if envelopes and isinstance(place.writer, Outbox):
                place.writer.write_within(connection, envelopes)
                level.to_publish += [(job, adapter) for job in jobs]
            elif envelopes and isinstance(place.writer, JoinsTransaction):
                place.writer.enqueue_within(connection, envelopes)
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

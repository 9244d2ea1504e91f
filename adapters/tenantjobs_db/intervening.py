"""What people do about jobs by hand: retry, discard, cancel, run now, clear.

A transaction looks at some jobs, locks their rows in the order of their ids, and writes those that are in a state in
which that can be done; a job that a worker has claimed meanwhile is one of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, update

from tenantjobs import definition, uniqueness
from tenantjobs.envelope import Envelope
from tenantjobs.errors import DuplicateJob, EnvelopeError, TenantjobsError, WrongState
from tenantjobs.locks import Lock
from tenantjobs.running import JobContext
from tenantjobs.upkeep import POSSIBLE, Change, Changes, Verb
from tenantjobs.view import JobFilter
from tenantjobs_db.calling import Calling
from tenantjobs_db.cancelling import Cancelling
from tenantjobs_db.choosing import chosen
from tenantjobs_db.database import Database
from tenantjobs_db.failure import storable
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.permits import DatabasePermits
from tenantjobs_db.states import said
from tenantjobs_db.tables import (
    CANCELLED,
    CLAIMED,
    DISCARDED,
    QUARANTINED,
    READY,
    SCHEDULED,
    failures,
    jobs,
    progress,
    results,
)

DISCARDED_BY_HAND = "discarded by hand"

Rows = Sequence[Any]
Errors = dict[str, TenantjobsError]


class Intervening:
    """The verbs. Each is one transaction, which is tried again if it gave way to another."""

    def __init__(self, database: Database) -> None:
        now = database.dialect.now()
        self._database = database
        self._locks = DatabaseLocks(database)
        self._permits = DatabasePermits(database)
        self._calling = Calling(database.dialect)
        self._cancelling = Cancelling(database)
        self._rows = (
            select(jobs, now.label("now"))
            .where(jobs.c.id.in_(bindparam("listed", expanding=True)))
            .order_by(jobs.c.id)
            .with_for_update()
        )
        these = jobs.c.id.in_(bindparam("listed", expanding=True))
        self._again = (
            update(jobs)
            .where(jobs.c.id == bindparam("of_job"))
            .values(
                state=bindparam("new_state"),
                due_at=bindparam("new_due"),
                data=bindparam("new_data"),
                attempt=0,
                deaths=0,
                finished_at=None,
                reason=None,
            )
        )
        self._end = update(jobs).where(these).values(state=DISCARDED, reason=bindparam("why"), finished_at=now)
        self._advance = update(jobs).where(these).values(state=READY, due_at=now)
        self._forget = [
            delete(failures).where(failures.c.job_id.in_(bindparam("listed", expanding=True))),
            delete(progress).where(progress.c.job_id.in_(bindparam("listed", expanding=True))),
            delete(results).where(results.c.job_id.in_(bindparam("listed", expanding=True))),
            delete(jobs).where(these),
        ]
        self._verbs: Mapping[Verb, Callable[[Connection, Rows, str | None], Errors]] = {
            "retry": self._retry,
            "discard": self._discard,
            "cancel": self._cancel,
            "run_now": self._run_now,
            "clear": self._clear,
        }

    def change(self, verb: Verb, which: JobFilter, *, after: str | None, limit: int, reason: str | None) -> Changes:
        """Do it about the next jobs behind the id ``after``."""
        statement = select(jobs.c.id).where(chosen(which)).order_by(jobs.c.id).limit(limit)
        if after is not None:
            statement = statement.where(jobs.c.id > after)

        def work(connection: Connection) -> Changes:
            ids = list(connection.execute(statement).scalars())
            rows = connection.execute(self._rows, {"listed": ids}).all() if ids else []
            possible = [row for row in rows if said(row.state) in POSSIBLE[verb]]
            refused: Errors = {row.id: _wrong_state(verb, row) for row in rows if said(row.state) not in POSSIBLE[verb]}
            if possible:
                refused |= self._verbs[verb](connection, possible, reason)
            done = [row for row in possible if row.id not in refused]
            return Changes(
                changed=_changes(row for row in done if row.state != CLAIMED),
                told=_changes(row for row in done if row.state == CLAIMED),
                refused=refused,
                last=ids[-1] if len(ids) == limit else None,
            )

        changes = self._database.run(work)
        if verb in ("discard", "cancel"):
            # After the commit: whoever replaces a unique job takes its lock first and then its row.
            ended = [change.job.id for change in changes.changed]
            self._locks.forsake(ended)
            self._permits.forsake(ended)
        return changes

    def _retry(self, connection: Connection, rows: Rows, _reason: str | None) -> Errors:
        refused = self._taken(connection, rows)
        again = [_again(row) for row in rows if row.id not in refused]
        if again:
            connection.execute(self._again, again)
            self._calling.call(connection, [row.id for row in rows if row.id not in refused])
        return refused

    def _discard(self, connection: Connection, rows: Rows, reason: str | None) -> Errors:
        why = DISCARDED_BY_HAND if reason is None else f"{DISCARDED_BY_HAND}: {storable(reason)}"
        connection.execute(self._end, {"listed": _ids(rows), "why": why})
        return {}

    def _cancel(self, connection: Connection, rows: Rows, _reason: str | None) -> Errors:
        waiting = [row for row in rows if row.state != CLAIMED]
        if waiting:
            connection.execute(self._end, {"listed": _ids(waiting), "why": CANCELLED})
        self._cancelling.note(connection, [row for row in rows if row.state == CLAIMED])
        return {}

    def _run_now(self, connection: Connection, rows: Rows, _reason: str | None) -> Errors:
        connection.execute(self._advance, {"listed": _ids(rows)})
        self._calling.call(connection, _ids(rows))
        return {}

    def _clear(self, connection: Connection, rows: Rows, _reason: str | None) -> Errors:
        for statement in self._forget:
            connection.execute(statement, {"listed": _ids(rows)})
        return {}

    def _taken(self, connection: Connection, rows: Rows) -> Errors:
        """Take the locks of unique jobs that are to wait once more; those whose key another one has by now."""
        wanted = [lock for row in rows if (lock := _lock(row)) is not None]
        holders = self._locks.lock(wanted, connection) if wanted else {}
        return {
            row.id: DuplicateJob(
                f"job {row.name} id={row.id} cannot be retried: job id={holders[row.id]} has its unique key; retry it "
                f"when that is done, or discard it"
            )
            for row in rows
            if row.id in holders
        }


def _changes(rows: Iterable[Any]) -> tuple[Change, ...]:
    return tuple(Change(_context(row), row.data) for row in rows)


def _again(row: Any) -> dict[str, Any]:
    due_at = max(row.now, row.due_at or row.now)
    return {
        "of_job": row.id,
        "new_state": SCHEDULED if due_at > row.now else READY,
        "new_due": due_at,
        "new_data": _untried(row.data, due_at),
    }


def _untried(data: str, due_at: datetime) -> str:
    """The envelope as if nothing had been tried, but with the steps that are done; what is none stays as it is."""
    try:
        envelope = Envelope.decode(data)
    except EnvelopeError:
        return data
    bookmark = envelope.bookmark
    if bookmark is not None:
        bookmark = msgspec.structs.replace(bookmark, resumptions=0)
    untried = msgspec.structs.replace(envelope, attempt=0, counters={}, due_at=due_at, bookmark=bookmark)
    return untried.encode().decode()


def _lock(row: Any) -> Lock | None:
    job = definition.lookup(row.name)
    if job is None or job.unique is None:
        return None
    try:
        envelope = Envelope.decode(row.data)
    except EnvelopeError:
        return None
    if "unique" not in envelope.keys:
        return None
    return uniqueness.waiting_lock(msgspec.structs.replace(envelope, due_at=None), job.unique.ttl)


def _wrong_state(verb: Verb, row: Any) -> WrongState:
    states = " or ".join(map(_named, POSSIBLE[verb]))
    return WrongState(
        f"job {row.name} id={row.id} is {_named(said(row.state))}: only one that is {states} can be {_PARTICIPLE[verb]}"
    )


def _named(state: str) -> str:
    return "in quarantine" if state == QUARANTINED else state


_PARTICIPLE: Mapping[Verb, str] = {
    "retry": "retried",
    "discard": "discarded",
    "cancel": "cancelled",
    "run_now": "run now",
    "clear": "cleared",
}


def _context(row: Any) -> JobContext:
    return JobContext(
        id=row.id,
        name=row.name,
        attempt=row.attempt,
        queue=row.queue,
        priority=row.priority,
        enqueued_at=row.enqueued_at,
        due_at=row.due_at,
        tenant_id=row.tenant or None,
    )


def _ids(rows: Rows) -> list[str]:
    return [row.id for row in rows]

"""Calling workers that are asleep, when there are jobs for them: LISTEN and NOTIFY (PostgreSQL).

Transactions that notify commit one after another, so nobody is called who is not asleep. A sleeper holds a lock that
is named after its queue, shared with others who sleep there, and whoever has jobs for the queue tries to lock it out:
that writes nothing, and a sleeper that dies leaves nothing behind. Names and channels have the table of the jobs in
them, so that queues in one database stay apart.

The call is made by a statement of the transaction that makes jobs ready, and heard when that commits.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Executable, Insert, func, literal_column, select, text

from tenantjobs_db.dialect import Dialect
from tenantjobs_db.tables import READY, jobs

INITIALS = 3  # characters: whoever serves queues by a prefix is called for all that begin like it so far
NAMED = 1000  # characters of a queue's name that are told; a call has room for so many

TABLE = "CAST(CAST('tj_jobs' AS regclass) AS oid)"
CHANNEL = f"'tj_jobs_' || {TABLE}"


def lock_of(place: str) -> str:
    """The number of the lock that is held by those who sleep at ``place``, an expression of SQL."""
    return f"hashtextextended('tj_jobs:' || {place}, CAST({TABLE} AS bigint))"


def _is_slept_at(place: str) -> str:
    # Another who tries at this moment looks like a sleeper, so that it is tried twice.
    lock = lock_of(place)
    free = f"CASE WHEN pg_try_advisory_lock({lock}) THEN pg_advisory_unlock({lock}) ELSE false END"
    return f"CASE WHEN {free} THEN false WHEN {free} THEN false ELSE true END"


def _are_asleep(queue: str) -> str:
    places = (queue, f"left({queue}, {INITIALS}) || '*'", "'*'")
    return f"({' OR '.join(map(_is_slept_at, places))})"


def _call(queue: str) -> str:
    return f"pg_notify({CHANNEL}, left({queue}, {NAMED}))"


def place_of(pattern: str) -> str:
    """Where those sleep who serve the queues of a name, a prefix with its star, or the star for all."""
    prefix, star = pattern.removesuffix("*"), pattern.endswith("*")
    if not star:
        return pattern
    return f"{prefix[:INITIALS]}*" if len(prefix) >= INITIALS else "*"


class Calling:
    """Calls the sleepers of the queues of ready jobs; where they cannot be called, nothing happens."""

    def __init__(self, dialect: Dialect) -> None:
        self._call = (
            text(f"""
                SELECT {_call("called.queue")} FROM (
                    SELECT DISTINCT queue FROM tj_jobs WHERE id = ANY (CAST(:ids AS text[])) AND state = 'ready'
                ) AS called
                WHERE {_are_asleep("called.queue")}
            """)
            if dialect.notifies
            else None
        )
        queues = "unnest(CAST(:queues AS text[])) AS called (queue)"
        self._call_for = (
            text(f"SELECT {_call('called.queue')} FROM {queues} WHERE {_are_asleep('called.queue')}")
            if dialect.notifies
            else None
        )

    @property
    def is_heard(self) -> bool:
        """Whether anybody can be called."""
        return self._call is not None

    def call_for(self, connection: Connection, queues: Iterable[str]) -> None:
        """For queues that have ready jobs now; heard when the transaction commits."""
        if self._call_for is not None and (listed := sorted(queues)):
            connection.execute(self._call_for, {"queues": listed})

    def call(self, connection: Connection, ids: Iterable[str]) -> None:
        """For those of these jobs that are ready; heard when the transaction commits."""
        if self._call is not None and (listed := list(ids)):
            connection.execute(self._call, {"ids": listed})


def calling(insert: Insert) -> Executable:
    """``insert``, which is one of jobs, and the calls for those that are ready: by one statement, which counts them."""
    new = insert.returning(jobs.c.queue, jobs.c.state).cte("new")
    ready = new.c.state == literal_column(f"'{READY}'")
    called = select(new.c.queue).where(ready).distinct().subquery("called")
    stored = select(func.count()).select_from(new).scalar_subquery()
    calls = func.count(literal_column(_call_if("called.queue", _are_asleep("called.queue"))))
    return select(stored, calls).select_from(called)


def calling_for_one(insert: Insert) -> Insert:
    """The same where it is one job at most: there is nothing to gather, which would take longer than the insert."""
    is_called = f"tj_jobs.state = '{READY}' AND {_are_asleep('tj_jobs.queue')}"
    return insert.returning(literal_column(_call_if("tj_jobs.queue", is_called)))


def _call_if(queue: str, condition: str) -> str:
    return f"CASE WHEN {condition} THEN {_call(queue)} IS NULL END"

"""The safety net of limited jobs: none stays blocked although there is a permit for it.

As a rule whoever settles a job lets the next one out. This is for what nobody has settled: permits that have ended by
themselves, those of claims that are no more, jobs that were let out and then cancelled, and those of a class that was
resumed while they were put aside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, bindparam, cast, delete, exists, func, literal, select, tuple_

from tenantjobs_db.database import Database
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.instructions import paused_name
from tenantjobs_db.limiting import Limiting
from tenantjobs_db.pacing import rate_of
from tenantjobs_db.probing import probe
from tenantjobs_db.queue import BATCH
from tenantjobs_db.rates import DatabaseRates
from tenantjobs_db.tables import blocked, controls, jobs, permits
from tenantjobs_db.waiting import Waiting

logger = logging.getLogger("tenantjobs.db")

INTERVAL = 1.0  # seconds between two looks
AHEAD = 1.5  # seconds; jobs with a rate are given their moments until some time after the next look
KEYS = 200  # keys of one look; the next one begins behind them


class Releasing:
    """Looks at some of the keys that jobs wait for, and goes round."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        self._limiting = Limiting(database)
        self._rates = DatabaseRates(database)
        self._waiting = Waiting(dialect)
        self._last = ""
        self._waited_for = _waited_for_at_once(dialect) if dialect.skip_scans else _waited_for_by_probes(dialect)
        claim = permits.c.owner.concat(":").concat(cast(jobs.c.fence, Text))
        is_claimed = exists().where(
            jobs.c.id == permits.c.owner, jobs.c.claimed_by.is_not(None), permits.c.token == claim
        )
        self._orphaned = dialect.skip_locked(
            select(permits.c.key, permits.c.number).where(
                permits.c.key.in_(bindparam("listed", expanding=True)),
                permits.c.token.like(permits.c.owner.concat(":%")),
                ~is_claimed,
            ),
            permits,
        )
        self._paused = select(controls.c.name).where(
            controls.c.kind == "job", controls.c.name == bindparam("name"), controls.c.paused_at.is_not(None)
        )
        self._free = delete(permits).where(
            tuple_(permits.c.key, permits.c.number).in_(bindparam("listed", expanding=True))
        )

    def release(self) -> int:
        """Make jobs ready for which there are permits; how many there were."""
        with self._database.autocommit() as connection:
            waited_for = self._waited_for(connection, self._last)
        self._last = waited_for[-1].key if len(waited_for) == KEYS else ""
        if not waited_for:
            return 0
        let_out = 0
        with self._database.begin() as connection:
            listed = [row.key for row in waited_for]
            orphaned = [tuple(row) for row in connection.execute(self._orphaned, {"listed": listed})]
            if orphaned:
                connection.execute(self._free, {"listed": orphaned})
            freed = [key for key, _ in orphaned]
            for row in waited_for:
                rate = rate_of(row.key)
                if rate is not None:
                    moments = self._rates.moments(connection, rate, AHEAD, BATCH)
                    let_out += self._waiting.let_out_at(connection, row.key, moments)
                    continue
                may_start = self._resumed(connection, row.key)
                if may_start is None:
                    may_start = row.of - row.held + freed.count(row.key)
                let_out += self._limiting.let_out(connection, row.key, may_start)
        return let_out

    def _resumed(self, connection: Connection, key: str) -> int | None:
        """How many may start that wait for their class to be resumed; None in a line of another kind."""
        name = paused_name(key)
        if name is None:
            return None
        return 0 if connection.execute(self._paused, {"name": name}).first() is not None else BATCH


def _waited_for_at_once(dialect: Dialect) -> Callable[[Connection, str], Sequence[Any]]:
    """What reads some of the keys that jobs wait for, from behind the last one on: by one statement."""
    first = select(func.min(blocked.c.key).label("key"), literal(1).label("n")).where(
        blocked.c.key > bindparam("last", type_=blocked.c.key.type)
    )
    keys = first.cte("keys", recursive=True)
    further = blocked.alias()
    following = select(func.min(further.c.key)).where(further.c.key > keys.c.key).scalar_subquery()
    keys = keys.union_all(select(following, keys.c.n + 1).where(keys.c.key.is_not(None), keys.c.n < KEYS))
    statement = select(keys.c.key, *_permits_of(keys.c.key, dialect)).where(keys.c.key.is_not(None))
    return lambda connection, last: connection.execute(statement, {"last": last}).all()


def _waited_for_by_probes(dialect: Dialect) -> Callable[[Connection, str], Sequence[Any]]:
    """The same where a recursive query is no skip scan."""
    above = select(func.min(blocked.c.key)).where(blocked.c.key > bindparam("above"))
    key: ColumnElement[str] = bindparam("key", type_=blocked.c.key.type)
    statement = select(key.label("key"), *_permits_of(key, dialect))

    def look(connection: Connection, last: str) -> list[Any]:
        keys = probe(connection, above, {}, above=last, most=KEYS)
        looks = [connection.execute(statement, {"key": key}).one() for key in keys]
        return [row for row in looks if row.of is not None]  # its last job was let out meanwhile

    return look


def _permits_of(key: ColumnElement[str], dialect: Dialect) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """How many there are of a key, as the first job says that waits for one, and how many are held."""
    head = blocked.alias()
    of = select(head.c.permits).where(head.c.key == key).order_by(head.c.priority, head.c.job_id).limit(1)
    held = select(func.count()).where(permits.c.key == key, permits.c.expires_at >= dialect.now())
    return of.scalar_subquery().label("of"), held.scalar_subquery().label("held")

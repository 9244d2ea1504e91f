"""The safety net of limited jobs: none stays blocked although there is a permit for it.

As a rule whoever settles a job lets the next one out. This is for what nobody has settled: permits that have ended by
themselves, those of claims that are no more, jobs that were let out and then cancelled, and those of a class that was
resumed while they were put aside.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, Text, bindparam, cast, delete, exists, func, literal, select, tuple_

from tenantjobs_db.database import Database
from tenantjobs_db.instructions import paused_name
from tenantjobs_db.limiting import Limiting
from tenantjobs_db.queue import BATCH
from tenantjobs_db.tables import blocked, controls, jobs, permits

logger = logging.getLogger("tenantjobs.db")

INTERVAL = 1.0  # seconds between two looks
KEYS = 200  # keys of one look; the next one begins behind them


class Releasing:
    """Looks at some of the keys that jobs wait for, and goes round."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        self._limiting = Limiting(database)
        self._last = ""
        first = select(func.min(blocked.c.key).label("key"), literal(1).label("n")).where(
            blocked.c.key > bindparam("last", type_=blocked.c.key.type)
        )
        keys = first.cte("keys", recursive=True)
        further, head = blocked.alias(), blocked.alias()
        following = select(func.min(further.c.key)).where(further.c.key > keys.c.key).scalar_subquery()
        keys = keys.union_all(select(following, keys.c.n + 1).where(keys.c.key.is_not(None), keys.c.n < KEYS))
        of = (
            select(head.c.permits)
            .where(head.c.key == keys.c.key)
            .order_by(head.c.priority, head.c.job_id)
            .limit(1)
            .scalar_subquery()
        )
        held = (
            select(func.count())
            .where(permits.c.key == keys.c.key, permits.c.expires_at >= dialect.now())
            .scalar_subquery()
        )
        self._waited_for = select(keys.c.key, of.label("of"), held.label("held")).where(keys.c.key.is_not(None))
        claim = permits.c.owner.op("||")(":").op("||")(cast(jobs.c.fence, Text))
        is_claimed = exists().where(
            jobs.c.id == permits.c.owner, jobs.c.claimed_by.is_not(None), permits.c.token == claim
        )
        self._orphaned = dialect.skip_locked(
            select(permits.c.key, permits.c.number).where(
                permits.c.key.in_(bindparam("listed", expanding=True)),
                permits.c.token.like(permits.c.owner.op("||")(":%")),
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
            waited_for = connection.execute(self._waited_for, {"last": self._last}).all()
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

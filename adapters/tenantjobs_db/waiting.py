"""Blocked jobs: put aside out of the way of claims, each in the line of what it waits for, and let out again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, delete, select, update

from tenantjobs_db.calling import Calling
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import BLOCKED, READY, SCHEDULED, blocked, in_state, jobs


class Waiting:
    """The lines, by what their jobs wait for. In each, the most urgent is the first, and then the oldest."""

    def __init__(self, dialect: Dialect) -> None:
        listed: BindParameter[Any] = bindparam("listed", expanding=True)
        self._calling = Calling(dialect)
        # By their ids alone: PostgreSQL would go through all ready jobs for them, until it knows that there are many.
        self._put_aside = update(jobs).where(jobs.c.id.in_(listed)).values(state=BLOCKED)
        self._block = (
            update(jobs)
            .where(
                jobs.c.id == bindparam("of_job"),
                jobs.c.fence == bindparam("of_fence"),
                jobs.c.claimed_by == bindparam("process"),
            )
            .values(state=BLOCKED, claimed_by=None)
        )
        self._line = dialect.skip_locked(
            select(jobs.c.id, jobs.c.fence, jobs.c.name, jobs.c.tenant, jobs.c.priority, jobs.c.attempt, jobs.c.data)
            .where(in_state(READY), jobs.c.queue == bindparam("of_queue"), jobs.c.tenant == bindparam("of_tenant"))
            .order_by(jobs.c.priority, jobs.c.id)
            .limit(bindparam("count")),
            jobs,
            "tj_jobs_ready",
        )
        self._note = dialect.insert_new(blocked).values(blocked_at=dialect.now())
        self._next = dialect.skip_locked(
            select(blocked.c.job_id)
            .where(blocked.c.key == bindparam("of_key"))
            .order_by(blocked.c.priority, blocked.c.job_id)
            .limit(bindparam("count")),
            blocked,
            "tj_blocked_key",
        )
        self._forget = delete(blocked).where(blocked.c.job_id.in_(listed))
        self._schedule = (
            update(jobs)
            .where(jobs.c.id == bindparam("of_job"), in_state(BLOCKED))
            .values(state=SCHEDULED, due_at=bindparam("at"))
        )
        self._let_out = update(jobs).where(jobs.c.id.in_(listed), in_state(BLOCKED)).values(state=READY)

    def put_aside(self, connection: Connection, ids: Sequence[str]) -> None:
        """Block ready jobs, which this transaction has locked as ``line`` does. They are noted beside this."""
        if ids:
            connection.execute(self._put_aside, {"listed": sorted(ids)})

    def block(self, connection: Connection, claims: Iterable[Claimed]) -> set[str]:
        """Block claimed jobs, which are noted beside this; the ids of those that were still ours."""
        # In one order everywhere, so that two transactions never wait for each other.
        return {
            claim.id
            for claim in sorted(claims, key=lambda claim: claim.id)
            if connection.execute(
                self._block, {"of_job": claim.id, "of_fence": claim.fence, "process": claim.process}
            ).rowcount
            == 1
        }

    def line(self, connection: Connection, queue: str, tenant: str, count: int) -> Sequence[Any]:
        """The first ready jobs of a tenant, locked, but for those that another one has locked."""
        return connection.execute(self._line, {"of_queue": queue, "of_tenant": tenant, "count": count}).all()

    def note(self, connection: Connection, notes: Sequence[Mapping[str, Any]]) -> None:
        """What blocked jobs wait for: rows of ``tj_blocked``."""
        if notes:
            connection.execute(self._note, notes)

    def let_out(self, connection: Connection, key: str, count: int) -> int:
        """Make up to ``count`` jobs ready that wait for the stored ``key``; how many there were."""
        let_out = 0
        while let_out < count:
            listed = connection.execute(self._next, {"of_key": key, "count": count - let_out}).scalars().all()
            if not listed:
                break
            connection.execute(self._forget, {"listed": listed})
            let_out += connection.execute(self._let_out, {"listed": listed}).rowcount  # fewer: some were cancelled
            self._calling.call(connection, listed)
        return let_out

    def let_out_at(self, connection: Connection, key: str, moments: Sequence[datetime]) -> int:
        """Have the first jobs of the line come at these moments, one at each; how many came."""
        listed = connection.execute(self._next, {"of_key": key, "count": len(moments)}).scalars().all()
        if listed:
            connection.execute(self._forget, {"listed": listed})
            pairs = zip(listed, moments, strict=False)
            connection.execute(self._schedule, [{"of_job": job_id, "at": moment} for job_id, moment in pairs])
        return len(listed)

"""The queues that there are jobs in."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Select, func, select

from tenantjobs_db.dialect import Dialect
from tenantjobs_db.probing import ProbedQueues
from tenantjobs_db.tables import READY, in_state, jobs


def queues_with_work(dialect: Dialect) -> Callable[[Connection], list[str]]:
    """What says the names of the queues that have ready jobs, by a skip scan: one index probe each."""
    if not dialect.skip_scans:
        return ProbedQueues()
    names = _queues_with_work()
    return lambda connection: list(connection.execute(names).scalars())


def _queues_with_work() -> Select[str]:
    first = select(func.min(jobs.c.queue).label("queue")).where(in_state(READY))
    seen = first.cte("queues", recursive=True)
    further = jobs.alias()
    following = (
        select(func.min(further.c.queue)).where(in_state(READY, table=further), further.c.queue > seen.c.queue)
    ).scalar_subquery()
    queues = seen.union_all(select(following).where(seen.c.queue.is_not(None)))
    return select(queues.c.queue).where(queues.c.queue.is_not(None))

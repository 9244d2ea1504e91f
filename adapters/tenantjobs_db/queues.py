"""The queues that there are jobs in."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, FromClause, Select, select

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
    # By LIMIT and not by min(): a plan that was made while the table was empty would read all of the index for that.
    first = select(_first(jobs).scalar_subquery().label("queue"))
    seen = first.cte("queues", recursive=True)
    further = jobs.alias()
    following = _first(further).where(further.c.queue > seen.c.queue).scalar_subquery()
    queues = seen.union_all(select(following).where(seen.c.queue.is_not(None)))
    return select(queues.c.queue).where(queues.c.queue.is_not(None))


def _first(table: FromClause) -> Select[str]:
    return select(table.c.queue).where(in_state(READY, table=table)).order_by(table.c.queue).limit(1)

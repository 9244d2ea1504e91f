"""The claim: jobs go from ready to claimed, taking turns over the tenants that have work.

A claim looks only at the head of each tenant's line: a bounded skip scan over the index (queue, tenant, priority, id)
of ready jobs finds up to as many tenants as jobs are wanted, starting right of the tenant that was served last and
going round. No tenant has a row to be written, and neither the backlog nor the number of tenants makes a claim dearer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    TextClause,
    bindparam,
    exists,
    func,
    literal,
    select,
    text,
    union_all,
    update,
)

from tenantjobs_db.dialect import Dialect
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import CLAIMED, READY, in_state, jobs, processes

MOST_HEADS = 200  # tenants of one pass; a compound SELECT may not have more than 500 parts


class Turns:
    """Whose turn it is, in each queue: the place of one claimer on its way round the tenants."""

    def __init__(self) -> None:
        self._last_served: dict[str, str] = {}

    def cursor(self, queue: str) -> str:
        """The next turn is that of the first tenant right of this one."""
        return self._last_served.get(queue, "")

    def advance(self, queue: str, claimed: Sequence[Claimed]) -> None:
        """Move on. Where the jobs did not go up evenly, those who got one more than the others go to the end."""
        cursor = self.cursor(queue)
        shares = Counter(claim.tenant for claim in claimed)
        most = max(shares.values())
        self._last_served[queue] = max(
            (tenant for tenant, share in shares.items() if share == most), key=lambda tenant: (tenant <= cursor, tenant)
        )


class Claiming(Protocol):
    """One pass over the tenants of a queue."""

    def __call__(self, connection: Connection, process: str, queue: str, cursor: str, wanted: int) -> list[Claimed]: ...


def claim_fairly(
    claim: Claiming, connection: Connection, process: str, queue: str, turns: Turns, wanted: int
) -> list[Claimed]:
    """Up to ``wanted`` jobs of ``queue``. A tenant with few jobs leaves its share to the others."""
    claimed: list[Claimed] = []
    while len(claimed) < wanted:
        missing = wanted - len(claimed)
        batch = claim(connection, process, queue, turns.cursor(queue), missing)
        claimed += batch
        if not batch:
            break
        turns.advance(queue, batch)
        if len(batch) < missing and len({found.tenant for found in batch}) == 1:
            break  # it was offered everything
    return claimed


def claiming(dialect: Dialect) -> Claiming:
    """How ``dialect`` claims."""
    return SetBasedClaim() if dialect.set_based else StepwiseClaim(dialect)


class StepwiseClaim:
    """One pass as three statements under a lock of the whole database (SQLite)."""

    def __init__(self, dialect: Dialect) -> None:
        self._tenants = _tenants_in_turn()
        self._claim = (
            update(jobs)
            .where(jobs.c.id == bindparam("job_id"))
            .values(state=CLAIMED, claimed_by=bindparam("process"), claimed_at=dialect.now(), fence=jobs.c.fence + 1)
        )

    def __call__(self, connection: Connection, process: str, queue: str, cursor: str, wanted: int) -> list[Claimed]:
        wish = {"process": process, "queue": queue, "cursor": cursor, "wanted": min(wanted, MOST_HEADS)}
        tenants = connection.execute(self._tenants, wish).scalars().all()
        if not tenants:
            return []
        rows = connection.execute(_heads(len(tenants)), {"queue": queue, **_shares(tenants, wanted)}).all()
        connection.execute(self._claim, [{"job_id": row.id, "process": process} for row in rows])
        return [_claimed(row, process, queue) for row in rows]


class SetBasedClaim:
    """One pass as one statement (PostgreSQL)."""

    # The array of ids keeps the index scan under generic plans, where a join does not.
    STATEMENT = text("""
        WITH RECURSIVE
        ahead (tenant, n) AS (
            SELECT min(tenant), 1 FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant > :cursor
            UNION ALL
            SELECT (SELECT min(tenant) FROM tj_jobs
                    WHERE state = 'ready' AND queue = :queue AND tenant > ahead.tenant), n + 1
            FROM ahead WHERE tenant IS NOT NULL AND n < :wanted
        ),
        around (tenant, n) AS (
            SELECT min(tenant), 1 FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant <= :cursor
            UNION ALL
            SELECT (SELECT min(tenant) FROM tj_jobs
                    WHERE state = 'ready' AND queue = :queue AND tenant > around.tenant AND tenant <= :cursor), n + 1
            FROM around WHERE tenant IS NOT NULL AND n < :wanted
        ),
        found AS (
            SELECT tenant, 0 AS lap, n FROM ahead WHERE tenant IS NOT NULL
            UNION ALL
            SELECT tenant, 1 AS lap, n FROM around WHERE tenant IS NOT NULL
            LIMIT :wanted
        ),
        turns AS (
            SELECT tenant, row_number() OVER (ORDER BY lap, n) AS turn, count(*) OVER () AS tenants FROM found
        ),
        heads AS (
            SELECT head.id FROM turns CROSS JOIN LATERAL (
                SELECT id FROM tj_jobs
                WHERE state = 'ready' AND queue = :queue AND tenant = turns.tenant
                ORDER BY priority, id
                LIMIT :wanted / tenants + CASE WHEN turn <= :wanted % tenants THEN 1 ELSE 0 END
                FOR UPDATE SKIP LOCKED
            ) AS head
        )
        UPDATE tj_jobs
        SET state = 'claimed', claimed_by = :process, claimed_at = statement_timestamp(), fence = fence + 1
        WHERE id = ANY (ARRAY (SELECT id FROM heads))
          AND EXISTS (SELECT FROM tj_processes WHERE tj_processes.id = :process)
        RETURNING id, fence, name, tenant, attempt, data, priority
    """)

    def __call__(self, connection: Connection, process: str, queue: str, cursor: str, wanted: int) -> list[Claimed]:
        wish = {"process": process, "queue": queue, "cursor": cursor, "wanted": wanted}
        rows = connection.execute(self.STATEMENT, wish).all()
        rows = sorted(rows, key=lambda row: (row.priority, row.id))
        return [_claimed(row, process, queue) for row in rows]


def queues_with_work() -> Select[str]:
    """The names of the queues that have ready jobs, by the same skip scan."""
    first = select(func.min(jobs.c.queue).label("queue")).where(in_state(READY))
    seen = first.cte("queues", recursive=True)
    further = jobs.alias()
    following = (
        select(func.min(further.c.queue)).where(in_state(READY, table=further), further.c.queue > seen.c.queue)
    ).scalar_subquery()
    queues = seen.union_all(select(following).where(seen.c.queue.is_not(None)))
    return select(queues.c.queue).where(queues.c.queue.is_not(None))


def _tenants_in_turn() -> Select[str]:
    """The tenants to be served now; none if the claiming process is not known (any more)."""
    cursor: ColumnElement[str] = bindparam("cursor", type_=jobs.c.tenant.type)
    ahead = _skip_scan("ahead", above=cursor)
    around = _skip_scan("around", up_to=cursor)
    found = union_all(
        select(ahead.c.tenant, literal(0).label("lap"), ahead.c.n).where(ahead.c.tenant.is_not(None)),
        select(around.c.tenant, literal(1).label("lap"), around.c.n).where(around.c.tenant.is_not(None)),
    ).limit(bindparam("wanted"))
    turns = found.subquery("turns")
    known = exists().where(processes.c.id == bindparam("process"))
    return select(turns.c.tenant).where(known).order_by(turns.c.lap, turns.c.n)


def _skip_scan(name: str, *, above: ColumnElement[str] | None = None, up_to: ColumnElement[str] | None = None) -> CTE:
    """The tenants with ready jobs, one index probe each: the smallest, then the smallest that is greater, and so on."""

    def smallest(table: Any, above: ColumnElement[str] | None) -> Select[str]:
        statement = select(func.min(table.c.tenant).label("tenant")).where(
            in_state(READY, table=table), table.c.queue == bindparam("queue")
        )
        if above is not None:
            statement = statement.where(table.c.tenant > above)
        if up_to is not None:
            statement = statement.where(table.c.tenant <= up_to)
        return statement

    first = smallest(jobs, above).add_columns(literal(1).label("n"))
    scan = first.cte(name, recursive=True)
    following = smallest(jobs.alias(), scan.c.tenant).scalar_subquery()
    return scan.union_all(
        select(following, scan.c.n + 1).where(scan.c.tenant.is_not(None), scan.c.n < bindparam("wanted"))
    )


@cache
def _heads(tenants: int) -> TextClause:
    """The heads of so many lines at once. What it takes to say LATERAL without the word."""
    head = """
        SELECT * FROM (
            SELECT id, fence + 1 AS fence, name, tenant, attempt, data FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant = :tenant_{0}
            ORDER BY priority, id LIMIT :share_{0}
        )"""
    return text(" UNION ALL ".join(head.format(turn) for turn in range(tenants)))


def _shares(tenants: Sequence[str], wanted: int) -> dict[str, str | int]:
    share, rest = divmod(wanted, len(tenants))
    parameters: dict[str, str | int] = {f"tenant_{turn}": tenant for turn, tenant in enumerate(tenants)}
    return parameters | {f"share_{turn}": share + (turn < rest) for turn in range(len(tenants))}


def _claimed(row: Any, process: str, queue: str) -> Claimed:
    return Claimed(row.id, row.fence, process, queue, row.name, row.tenant, row.attempt, row.data)

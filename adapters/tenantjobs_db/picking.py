"""The claim where something is said of tenants, queues or jobs, and wherever one statement cannot do it all.

Each pass looks at the tenants in their turn, deals the wanted jobs out to those that may start some, and takes the
heads of their lines. The jobs of a paused class that are met there are put aside in the line of that class, out of
the way of further claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Executable,
    Select,
    TextClause,
    and_,
    bindparam,
    exists,
    func,
    literal,
    select,
    text,
    union_all,
    update,
)

from tenantjobs.rates import Start
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.instructions import Instructions, paused_key
from tenantjobs_db.probing import ProbedTenants, locked_heads
from tenantjobs_db.rates import DatabaseRates, tenant_key
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import CLAIMED, READY, controls, in_state, jobs, processes
from tenantjobs_db.turns import Candidate, Turns
from tenantjobs_db.waiting import Waiting

MOST_HEADS = 200  # tenants of one pass; a compound SELECT may not have more than 500 parts
MOST_PASSES = 50  # of one claim, which is a transaction
ASIDE_AT_ONCE = 500  # jobs of a line that are looked at when one of them is of a paused class

# The tenants to be served now and what is said of them; none if the claiming process is not known (any more).
TenantsInTurn = Callable[[Connection, Mapping[str, Any]], Sequence[Any]]


class Picking:
    """Any claim, by several statements of one transaction."""

    def __init__(self, database: Database) -> None:
        dialect = self._dialect = database.dialect
        self._waiting = Waiting(dialect)
        self._rates = DatabaseRates(database)
        self._tenants = _tenants_at_once() if dialect.skip_scans else ProbedTenants()
        self._take_heads = _heads_of(dialect)
        self._claim = (
            update(jobs)
            .where(dialect.among(jobs.c.id, "listed"))
            .values(state=CLAIMED, claimed_by=bindparam("process"), claimed_at=dialect.now(), fence=jobs.c.fence + 1)
        )
        self._caps = dialect.skip_locked(
            select(controls.c.name, controls.c.cap)
            .where(
                controls.c.kind == "tenant",
                controls.c.name.in_(bindparam("tenants", expanding=True)),
                controls.c.cap.is_not(None),
            )
            .order_by(controls.c.name),
            controls,
        )
        self._running = (
            select(jobs.c.tenant, func.count().label("running"))
            .where(in_state(CLAIMED), jobs.c.tenant.in_(bindparam("tenants", expanding=True)))
            .group_by(jobs.c.tenant)
        )

    def claim(
        self,
        connection: Connection,
        process: str,
        queue: str,
        turns: Turns,
        wanted: int,
        rooms: Rooms,
        said: Instructions,
    ) -> list[Claimed]:
        """Up to ``wanted`` jobs of ``queue``. A tenant with few jobs leaves its share to the others."""
        claimed: list[Claimed] = []
        reach = wanted
        for _ in range(MOST_PASSES):
            missing = wanted - len(claimed)
            found = self._candidates(connection, process, queue, turns.cursor(queue), reach, rooms) if missing else []
            if not found:
                break
            candidates = self._within_caps(connection, found, rooms)
            shares = turns.shares(queue, candidates, missing, all_round=len(found) < reach)
            if not shares:
                reach *= 4  # all of these are at their cap, or save up for a job
                continue
            heads = self._heads(connection, process, queue, shares)
            in_the_way = {head.tenant for head in heads if head.name in said.jobs}
            if in_the_way:
                self._put_aside(connection, queue, in_the_way, said)
                heads = self._heads(connection, process, queue, shares)  # theirs is the turn of what was behind them
            allowed = [head for head in heads if head.name not in said.jobs]
            starting = self._in_time(connection, allowed, found, rooms)
            if starting:
                listed = self._dialect.listing([head.id for head in starting])
                connection.execute(self._claim, {"listed": listed, "process": process})
            rooms.take(starting)
            claimed += starting
            given = Counter(head.tenant for head in heads)
            for tenant, share in shares.items():
                if given[tenant] < share:
                    turns.fell_short(queue, tenant, share - given[tenant])
            if len(starting) < len(allowed):
                continue  # what a rate has kept back is left to the others
            if not heads or (len(shares) == 1 and len(heads) < missing == sum(shares.values())):
                break  # it was offered everything
        return claimed

    def _heads(self, connection: Connection, process: str, queue: str, shares: Mapping[str, int]) -> list[Claimed]:
        rows = connection.execute(*self._take_heads(queue, shares)).all()
        return [_claimed(row, process, queue) for row in rows]

    def _candidates(
        self, connection: Connection, process: str, queue: str, cursor: str, wanted: int, rooms: Rooms
    ) -> list[Any]:
        """Up to ``wanted`` tenants in their turn that have work and may start some of it."""
        probes = min(wanted + len(rooms.full), MOST_HEADS)
        found: list[Any] = []
        seen: set[str] = set()
        while True:
            wish = {"process": process, "queue": queue, "cursor": cursor, "wanted": probes}
            rows = self._tenants(connection, wish)
            for row in rows:
                if row.tenant in seen or len(found) == wanted:
                    return found
                seen.add(row.tenant)
                if row.paused_at is None and rooms.of(row.tenant) > 0:
                    found.append(row)
            if len(rows) < probes:
                return found
            cursor = rows[-1].tenant

    def _within_caps(self, connection: Connection, found: Sequence[Any], rooms: Rooms) -> list[Candidate]:
        """With the room that their caps leave. Whoever counts holds the cap to the end of its transaction."""
        capped = [row.tenant for row in found if row.cap is not None]
        if capped:
            # A cap that another one is counting at is left to it; the count is a statement of its own, which sees
            # what those before have committed.
            caps = {row.name: row.cap for row in connection.execute(self._caps, {"tenants": capped})}
            running = {row.tenant: row.running for row in connection.execute(self._running, {"tenants": capped})}
            for tenant in capped:
                rooms.narrow(tenant, caps[tenant] - running.get(tenant, 0) if tenant in caps else 0)
        return [Candidate(row.tenant, row.weight or 1.0, rooms.of(row.tenant)) for row in found]

    def _in_time(
        self, connection: Connection, heads: Sequence[Claimed], found: Sequence[Any], rooms: Rooms
    ) -> Sequence[Claimed]:
        """Those of ``heads`` that the rates of their tenants let start; they are counted as started."""
        rated = {row.tenant: row for row in found if row.rate is not None}
        if not rated:
            return heads
        wanted = [
            Start(tenant_key(head.tenant), head.tenant, head.id, rule.rate, rule.rate_seconds, rule.rate)
            for head in heads
            if (rule := rated.get(head.tenant)) is not None
        ]
        if not wanted:
            return heads
        early = self._rates.start_within(connection, wanted, waits=False)
        for head in heads:
            if head.id in early:
                rooms.narrow(head.tenant, 0)
        return [head for head in heads if head.id not in early]

    def _put_aside(self, connection: Connection, queue: str, tenants: set[str], said: Instructions) -> None:
        for tenant in sorted(tenants):
            line = self._waiting.line(connection, queue, tenant, ASIDE_AT_ONCE)
            paused = [row for row in line if row.name in said.jobs]
            self._waiting.put_aside(connection, [row.id for row in paused])
            self._waiting.note(connection, [_noted(row, said.jobs[row.name]) for row in paused])


def _noted(row: Any, name: str) -> dict[str, Any]:
    key = paused_key(name)
    return {"job_id": row.id, "key": key, "tenant": row.tenant, "priority": row.priority, "permits": 0}


def _tenants_at_once() -> TenantsInTurn:
    statement = _tenants_in_turn()
    return lambda connection, wish: connection.execute(statement, wish).all()


def _tenants_in_turn() -> Executable:
    cursor: ColumnElement[str] = bindparam("cursor", type_=jobs.c.tenant.type)
    ahead = _skip_scan("ahead", above=cursor)
    around = _skip_scan("around", up_to=cursor)
    found = union_all(
        select(ahead.c.tenant, literal(0).label("lap"), ahead.c.n).where(ahead.c.tenant.is_not(None)),
        select(around.c.tenant, literal(1).label("lap"), around.c.n).where(around.c.tenant.is_not(None)),
    ).limit(bindparam("wanted"))
    turns = found.subquery("turns")
    said = and_(controls.c.kind == "tenant", controls.c.name == turns.c.tenant)
    known = exists().where(processes.c.id == bindparam("process"))
    return (
        select(
            turns.c.tenant,
            controls.c.paused_at,
            controls.c.weight,
            controls.c.cap,
            controls.c.rate,
            controls.c.rate_seconds,
        )
        .select_from(turns.outerjoin(controls, said))
        .where(known)
        .order_by(turns.c.lap, turns.c.n)
    )


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


def _heads_of(dialect: Dialect) -> Callable[[str, Mapping[str, int]], tuple[TextClause, dict[str, Any]]]:
    if dialect.set_based:
        return _heads_at_once
    return _heads if dialect.one_writer else locked_heads


def _heads_at_once(queue: str, shares: Mapping[str, int]) -> tuple[TextClause, dict[str, Any]]:
    return _LATERAL, {"queue": queue, "tenants": list(shares), "shares": list(shares.values())}


def _heads(queue: str, shares: Mapping[str, int]) -> tuple[TextClause, dict[str, Any]]:
    parameters: dict[str, Any] = {"queue": queue}
    for turn, (tenant, share) in enumerate(shares.items()):
        parameters |= {f"tenant_{turn}": tenant, f"share_{turn}": share}
    return _compound(len(shares)), parameters


_LATERAL = text("""
    SELECT head.* FROM unnest(CAST(:tenants AS text[]), CAST(:shares AS int[])) AS turns (tenant, share)
    CROSS JOIN LATERAL (
        SELECT id, fence + 1 AS fence, name, tenant, attempt, data, deaths, priority FROM tj_jobs
        WHERE state = 'ready' AND queue = :queue AND tenant = turns.tenant
        ORDER BY priority, id LIMIT turns.share
        FOR UPDATE SKIP LOCKED
    ) AS head
""")


@cache
def _compound(tenants: int) -> TextClause:
    """The heads of so many lines at once. What it takes to say LATERAL without the word."""
    head = """
        SELECT * FROM (
            SELECT id, fence + 1 AS fence, name, tenant, attempt, data, deaths, priority FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant = :tenant_{0}
            ORDER BY priority, id LIMIT :share_{0}
        )"""
    return text(" UNION ALL ".join(head.format(turn) for turn in range(tenants)))


def _claimed(row: Any, process: str, queue: str) -> Claimed:
    id, fence, name, tenant, attempt, data, deaths, priority = row
    return Claimed(id, fence, process, queue, name, tenant, attempt, data, deaths, None, priority)

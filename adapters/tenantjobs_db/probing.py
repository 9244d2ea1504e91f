"""Skip scans where they cannot be said in one statement (MariaDB, MySQL): each probe is a statement of its own.

``min()`` above a value that is known when the statement is planned is one look into the index. In a recursive query,
where it is a column of the row before, both servers read everything above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, TextClause, and_, bindparam, func, select, text

from tenantjobs_db.tables import READY, controls, in_state, jobs, processes

MANY = 10_000


def probe(
    connection: Connection, smallest: Select[Any], place: Mapping[str, str], *, above: str, most: int = MANY
) -> list[str]:
    """Up to ``most`` values: the ``smallest`` above ``above``, then the smallest above that one, and so on."""
    values: list[str] = []
    while len(values) < most:
        value = connection.execute(smallest, {**place, "above": above}).scalar()
        if value is None:
            break
        values.append(value)
        above = value
    return values


class ProbedQueues:
    """The names of the queues that have ready jobs."""

    def __init__(self) -> None:
        self._above = select(func.min(jobs.c.queue)).where(in_state(READY), jobs.c.queue > bindparam("above"))

    def __call__(self, connection: Connection) -> list[str]:
        return probe(connection, self._above, {}, above="")


class InTurn(NamedTuple):
    """A tenant to be served, and what is said of it."""

    tenant: str
    paused_at: datetime | None = None
    weight: float | None = None
    cap: int | None = None
    rate: int | None = None
    rate_seconds: float | None = None


class ProbedTenants:
    """The tenants to be served now, first those right of the cursor, then the others."""

    def __init__(self) -> None:
        tenant = select(func.min(jobs.c.tenant)).where(in_state(READY), jobs.c.queue == bindparam("queue"))
        is_around = jobs.c.tenant <= bindparam("cursor")
        self._ahead = tenant.where(jobs.c.tenant > bindparam("above"))
        self._first_around = tenant.where(is_around)
        self._around = tenant.where(jobs.c.tenant > bindparam("above"), is_around)
        of_tenants = and_(controls.c.kind == "tenant", controls.c.name.in_(bindparam("tenants", expanding=True)))
        self._said = (
            select(controls.c.name, *(controls.c[field] for field in InTurn._fields[1:]))
            .select_from(processes.outerjoin(controls, of_tenants))
            .where(processes.c.id == bindparam("process"))
        )

    def __call__(self, connection: Connection, wish: Mapping[str, Any]) -> list[InTurn]:
        """Up to ``wanted``; none if the claiming process is not known (any more)."""
        tenants = self._with_work(connection, wish)
        if not tenants:
            return []
        said = connection.execute(self._said, {"tenants": tenants, "process": wish["process"]}).all()
        told = {row.name: InTurn(*row) for row in said}  # without a name where nothing is said of any
        return [told.get(tenant) or InTurn(tenant) for tenant in tenants] if said else []

    def _with_work(self, connection: Connection, wish: Mapping[str, Any]) -> list[str]:
        place, wanted = {"queue": wish["queue"], "cursor": wish["cursor"]}, wish["wanted"]
        ahead = probe(connection, self._ahead, place, above=wish["cursor"], most=wanted)
        missing = wanted - len(ahead)
        first = connection.execute(self._first_around, place).scalar() if missing else None
        if first is None:
            return ahead
        return [*ahead, first, *probe(connection, self._around, place, above=first, most=missing - 1)]


def locked_heads(queue: str, shares: Mapping[str, int]) -> tuple[TextClause, dict[str, Any]]:
    """The heads of some lines, each tenant with its share."""
    parameters: dict[str, Any] = {"queue": queue}
    for turn, (tenant, share) in enumerate(shares.items()):
        parameters |= {f"tenant_{turn}": tenant, f"share_{turn}": share}
    return _locked_heads(len(shares)), parameters


@cache
def _locked_heads(tenants: int) -> TextClause:
    # The index is named, for what is looked at to be sorted is locked as well.
    head = """(
        SELECT id, fence + 1 AS fence, name, tenant, attempt, data, deaths, priority
        FROM tj_jobs FORCE INDEX (tj_jobs_ready)
        WHERE state = 'ready' AND queue = :queue AND tenant = :tenant_{0}
        ORDER BY priority, id LIMIT :share_{0} FOR UPDATE SKIP LOCKED
    )"""
    return text(" UNION ALL ".join(head.format(turn) for turn in range(tenants)))

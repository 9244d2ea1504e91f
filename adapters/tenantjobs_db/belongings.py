"""What belongs to a tenant: every table of ours that has rows of one, and which rows those are.

A test holds the list against the tables: one that has a tenant and is not declared here fails it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Table, and_, func, or_, select

from tenantjobs_db.dialect import Dialect
from tenantjobs_db.ledger import LONGEST_KEY, stored
from tenantjobs_db.rates import tenant_key
from tenantjobs_db.tables import (
    batch_jobs,
    batches,
    blocked,
    bookmarks,
    cancellations,
    closed,
    controls,
    failures,
    inbox,
    jobs,
    ledger,
    locks,
    outbox,
    permits,
    processes,
    progress,
    rates,
    recurring,
    results,
    schema,
    serving,
    starts,
    ticks,
)

KEPT_OF_A_KEY = LONGEST_KEY - 64  # the first characters of a key, however long it is

OfTenant = Callable[[str], ColumnElement[bool]]


class Belonging(NamedTuple):
    """A table, and its rows that are a tenant's."""

    table: Table
    of: OfTenant

    @property
    def name(self) -> str:
        return str(self.table.name)

    @property
    def key(self) -> tuple[Column[Any], ...]:
        return tuple(self.table.primary_key)

    def rows(self, connection: Connection, dialect: Dialect, tenant: str) -> int:
        """How many rows there are, those too that another transaction is about to commit, where that can be told."""
        found = dialect.newest(select(func.count()).select_from(self.table).where(self.of(tenant)))
        count: int = connection.execute(found).scalar_one()
        return count


def _own(table: Table) -> Belonging:
    return Belonging(table, lambda tenant: table.c.tenant == tenant)


def _of_batch(tenant: str) -> ColumnElement[bool]:
    """The rows of its batches, and those of its jobs in batches of others."""
    return or_(
        batch_jobs.c.batch.in_(select(batches.c.id).where(batches.c.tenant == tenant)),
        batch_jobs.c.job.in_(select(jobs.c.id).where(jobs.c.tenant == tenant)),
    )


def is_counted_for(tenant: str, key: Column[str]) -> ColumnElement[bool]:
    """Whether a key of starts is the tenant's own: its id is in there."""
    own = key == stored(tenant_key(tenant))
    beginning = msgspec.json.encode([tenant])[:-1].decode() + ","
    if len(beginning) > KEPT_OF_A_KEY:  # of so long an id not all is there
        return own
    return or_(own, func.substr(key, 1, len(beginning)) == beginning)


def _of_rate(tenant: str) -> ColumnElement[bool]:
    return and_(rates.c.tenant == tenant, is_counted_for(tenant, rates.c.key))


def _of_start(tenant: str) -> ColumnElement[bool]:
    return or_(is_counted_for(tenant, starts.c.key), starts.c.key.in_(select(rates.c.key).where(_of_rate(tenant))))


def _of_control(tenant: str) -> ColumnElement[bool]:
    return and_(controls.c.kind == "tenant", controls.c.name == tenant)


#: In the order in which they are removed: what tells whose a row is goes after it.
BELONGINGS: Sequence[Belonging] = (
    Belonging(batch_jobs, _of_batch),
    _own(jobs),
    _own(failures),
    _own(progress),
    _own(cancellations),
    _own(results),
    _own(blocked),
    _own(locks),
    _own(permits),
    Belonging(starts, _of_start),
    _own(rates),
    _own(ledger),
    _own(batches),
    _own(outbox),
    _own(inbox),
    _own(bookmarks),
    _own(ticks),
    Belonging(controls, _of_control),
)

#: Tables that have nothing of a tenant: a process, an entry and a version are nobody's. A tombstone is all that is to
#: be left.
OTHERS: Sequence[Table] = (processes, serving, recurring, schema, closed)

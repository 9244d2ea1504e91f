"""Everything of a tenant is removed, and then it is counted that nothing is left.

First the tenant is closed, so that whatever still comes for it is refused; then its rows go, table by table and in
batches, each of which is a transaction. Whoever is stopped half way begins again, and finds what is left.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Row, bindparam, delete, func, select, tuple_, update

from tenantjobs import encryption, faults
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError, TenantBusy
from tenantjobs.identity import canonical_id
from tenantjobs.links import ids
from tenantjobs.purging import Proof, Tell
from tenantjobs_db.belongings import BELONGINGS, Belonging, is_counted_for
from tenantjobs_db.closing import PURGED, PURGING, Closing
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.refusing import saying_what_is_missing
from tenantjobs_db.tables import CLAIMED, batch_jobs, in_state, jobs, outbox, rates

AT_ONCE = 1000  # rows of one transaction
PATIENCE = 60.0  # seconds for transactions that are open to end
LOOK = 0.05
ROUNDS = 3  # in which what came in at the last moment is removed as well


class Purging:
    """In all of our databases: that of the queue, and that of an outbox elsewhere, each under its name."""

    def __init__(self, databases: Mapping[str, Database], *, patience: float = PATIENCE) -> None:
        self._places = [Place(name, database) for name, database in databases.items()]
        self._patience = patience

    def rows(self, tenant: object) -> dict[str, int]:
        """How many rows there are in each table."""
        name = canonical_id(tenant)
        with saying_what_is_missing():
            return {place.label(table): count for place in self._places for table, count in place.rows(name).items()}

    def purge(self, tenant: object, *, while_running: bool = False, tell: Tell | None = None) -> Proof:
        """Close a tenant for good, remove every row of it, and count what is left.

        ``TenantBusy``, and nothing has changed, while jobs of it run; with ``while_running`` their claims are taken
        away, and what they do has no effect on the queue any more. One that was stopped half way is run again.
        """
        name = canonical_id(tenant)
        with saying_what_is_missing():
            if not while_running:
                self._refuse_running(name)
            for place in self._places:
                place.bury(name)
            faults.point("after_tombstone")
            for place in self._places:
                place.wait_for_writers(self._patience)
            proof = self._removed(name, tell)
            for place in self._places:
                if proof.is_empty:
                    place.close(name)
                else:
                    place.bury(name)  # nothing of what is left is to run
        return proof

    def _refuse_running(self, tenant: str) -> None:
        running = sum(place.running(tenant) for place in self._places)
        if running:
            raise TenantBusy(
                f"{running} jobs of tenant {tenant} run: nothing was removed. Let it run out first, with `tenantjobs "
                f"tenants drain {tenant} --wait`, or say --while-running, which takes their claims away"
            )

    def _removed(self, tenant: str, tell: Tell | None) -> Proof:
        removed: Counter[str] = Counter()
        for _round in range(ROUNDS - 1):
            self._remove(tenant, removed, tell)
            faults.point("before_proof")
            proof = self._proof(tenant, removed)
            if proof.is_empty:
                return proof
        self._remove(tenant, removed, tell)
        return self._proof(tenant, removed)

    def _remove(self, tenant: str, removed: Counter[str], tell: Tell | None) -> None:
        for place in self._places:
            for table, count in place.remove(tenant):
                removed[place.label(table)] += count
                faults.point("while_purging")
                if tell is not None:
                    tell(table, removed.total())

    def _proof(self, tenant: str, removed: Mapping[str, int]) -> Proof:
        keys = encryption.destroy(tenant)
        return Proof(
            tenant=tenant, at=self._places[0].now(), rows=self.rows(tenant), keys=keys, removed=dict(removed)
        ).sealed()


class Place:
    """One database with our tables."""

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self._database = database
        self._dialect = database.dialect
        self._closing = Closing(database)
        self._controls = Controls(database)

    def label(self, table: str) -> str:
        """The table as a proof calls it."""
        return f"{self.name}.{table}" if self.name else table

    def now(self) -> datetime:
        with self._database.autocommit() as connection:
            moment: datetime = connection.execute(select(self._dialect.now())).scalar_one()
        return moment

    def rows(self, tenant: str) -> dict[str, int]:
        def count(connection: Connection) -> dict[str, int]:
            return {each.name: each.rows(connection, self._dialect, tenant) for each in BELONGINGS}

        return self._database.run(count)

    def running(self, tenant: str) -> int:
        with self._database.autocommit() as connection:
            return connection.execute(_RUNNING, {"tenant": tenant}).scalar_one()

    def bury(self, tenant: str) -> None:
        """Have nothing taken, and nothing started, from now on."""
        self._controls.pause("tenant", tenant, reason="it is being purged")
        self._database.run(lambda connection: self._closing.bury(connection, tenant, PURGING))

    def close(self, tenant: str) -> None:
        """Nothing is left: have the tombstone say so."""
        self._database.run(lambda connection: self._closing.bury(connection, tenant, PURGED))

    def wait_for_writers(self, patience: float) -> None:
        """Until those have ended that may have looked before the tenant was closed, and commit after it."""
        tables = [belonging.name for belonging in BELONGINGS]
        since = time.monotonic()
        before: frozenset[str] | None = None
        while True:
            with self._database.autocommit() as connection:
                found = self._dialect.writers(connection, tables)
            before = found if before is None else before & found
            if not before:
                return
            if time.monotonic() - since > patience:
                raise TenantBusy(
                    f"the tenant is closed, and nothing was removed yet: {', '.join(sorted(before))} is open for more "
                    f"than {patience:g} s, and may still write rows of it. End it, or let it end, and purge again"
                )
            time.sleep(LOOK)

    def remove(self, tenant: str) -> Iterator[tuple[str, int]]:
        """Remove its rows in batches: after each of them the table, and how many there were."""
        self._leave_batches(tenant)
        self._database.run(partial(_execute, statement=_disown(tenant), values={}))
        for belonging in BELONGINGS:
            for count in self._removed(belonging, tenant):
                yield belonging.name, count

    def _removed(self, belonging: Belonging, tenant: str) -> Iterator[int]:
        first: Any = None
        while True:
            rows = self._database.run(partial(_remove_some, belonging=belonging, tenant=tenant, first=first))
            if rows:
                yield len(rows)
                first = rows[-1][0]
            if len(rows) < AT_ONCE:
                return

    def _leave_batches(self, tenant: str) -> None:
        """Batches of others do not wait for what would have followed its jobs in their chains."""
        for table in (jobs, outbox):
            chained = (
                select(table.c.id, table.c.data)
                .where(table.c.tenant == tenant, table.c.data.like('%"chain":[%'))
                .order_by(table.c.id)
                .limit(AT_ONCE)
            )
            last = ""
            while True:
                with self._database.autocommit() as connection:
                    rows = connection.execute(chained.where(table.c.id > last)).all()
                followers = [follower for row in rows for follower in _followers(row.data)]
                if followers:
                    self._database.run(partial(_execute, statement=_LEAVE, values={"listed": followers}))
                if len(rows) < AT_ONCE:
                    break
                last = rows[-1].id


def _remove_some(connection: Connection, belonging: Belonging, tenant: str, first: Any) -> Sequence[Row[Any]]:
    """The keys of the rows that were removed: the first ones, none of which begins before ``first``."""
    key = belonging.key
    found = select(*key).where(belonging.of(tenant)).order_by(*key).limit(AT_ONCE)
    if first is not None:
        found = found.where(key[0] >= first)
    rows = connection.execute(found).all()
    if rows:
        connection.execute(delete(belonging.table).where(_among(key, rows)))
    return rows


def _execute(connection: Connection, statement: Executable, values: Mapping[str, Any]) -> None:
    connection.execute(statement, values)


def _among(key: Sequence[ColumnElement[Any]], rows: Sequence[Row[Any]]) -> ColumnElement[bool]:
    if len(key) == 1:
        return key[0].in_([row[0] for row in rows])
    return tuple_(*key).in_([tuple(row) for row in rows])


def _disown(tenant: str) -> Any:
    """What is counted for all tenants together goes on, and names none."""
    shared = (rates.c.tenant == tenant, ~is_counted_for(tenant, rates.c.key))
    return update(rates).where(*shared).values(tenant="")


def _followers(data: str) -> list[str]:
    try:
        return ids(Envelope.decode(data).chain)
    except EnvelopeError:
        return []


_RUNNING = select(func.count()).where(in_state(CLAIMED), jobs.c.tenant == bindparam("tenant"))
_LEAVE = delete(batch_jobs).where(batch_jobs.c.job.in_(bindparam("listed", expanding=True)))

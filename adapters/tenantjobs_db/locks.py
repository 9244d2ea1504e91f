"""The locks of unique jobs, in a table that can commit together with the jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, bindparam, delete, exists, or_, select, tuple_, update

from tenantjobs.locks import Lock
from tenantjobs_db.closing import insert_unless_buried, refuse_buried
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.ledger import stored
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.tables import BLOCKED, CLAIMED, READY, SCHEDULED, in_state, jobs
from tenantjobs_db.tables import locks as rows

T = TypeVar("T")


class DatabaseLocks:
    """Locks by tenant: taken in the transaction of their jobs where they can be, else in one of their own."""

    def __init__(self, database: Database, joins: Callable[[object], bool] = lambda _connection: False) -> None:
        dialect = database.dialect
        now = dialect.now()
        self.joins = joins
        self._database = database
        here = (rows.c.tenant == bindparam("of_tenant"), rows.c.key == bindparam("at_key"))
        until = dialect.after(seconds("seconds"))
        is_free = or_(rows.c.owner == bindparam("claimant"), rows.c.expires_at < now)
        self._insert = insert_unless_buried(
            dialect, rows, [rows.c.tenant, rows.c.key, rows.c.owner], {"expires_at": until}, counted=rows.c.expires_at
        )
        self._take_over = update(rows).where(*here, is_free).values(owner=bindparam("claimant"), expires_at=until)
        self._holders = dialect.newest(select(rows.c.tenant, rows.c.key, rows.c.owner).where(_listed()))
        self._unlock = delete(rows).where(*here, rows.c.owner == bindparam("claimant"))
        self._forsake = delete(rows).where(rows.c.owner.in_(bindparam("owners", expanding=True)))
        goes_on = exists().where(jobs.c.id == rows.c.owner, in_state(READY, SCHEDULED, BLOCKED, CLAIMED))
        self._forsake_ended = self._forsake.where(~goes_on)
        self._expired = dialect.skip_locked(
            select(rows.c.tenant, rows.c.key).where(rows.c.expires_at < now).limit(BATCH), rows
        )
        self._forget = delete(rows).where(_listed())

    @property
    def one_writer(self) -> bool:
        return self._database.dialect.one_writer

    def lock(self, locks: Sequence[Lock], connection: object | None = None) -> Mapping[str, str]:
        """Take them all; the holder for each that another job has, both by the ids of jobs."""
        # In one order everywhere, so that two transactions never wait for each other.
        locks = sorted(locks, key=lambda lock: (lock.tenant, stored(lock.key)))
        places = [(lock.tenant, stored(lock.key)) for lock in locks]
        new = [
            {"tenant": tenant, "key": key, "owner": lock.owner, "seconds": lock.seconds}
            for (tenant, key), lock in zip(places, locks, strict=True)
        ]
        takeovers = [{**_held(lock), "seconds": lock.seconds} for lock in locks]

        def take(transaction: Connection) -> Mapping[tuple[str, str], str] | None:
            """None if all of them were free, else who has which."""
            if transaction.execute(self._insert, new).rowcount == len(locks):
                return None
            transaction.execute(self._take_over, takeovers)
            found = transaction.execute(self._holders, {"listed": places})
            owners = {(row.tenant, row.key): row.owner for row in found}
            if owners.keys() < set(places):
                refuse_buried(transaction, [tenant for tenant, _ in places])
            return owners

        while True:
            owners = self._within(connection, take)
            if owners is None:
                return {}
            if owners.keys() >= set(places):
                pairs = zip(locks, places, strict=True)
                return {lock.owner: owners[place] for lock, place in pairs if owners[place] != lock.owner}
            # One was freed between two statements.

    def unlock(self, locks: Sequence[Lock], connection: object | None = None) -> None:
        """Free those that their owners still have."""
        held = sorted(map(_held, locks), key=lambda held: tuple(held.values()))
        self._within(connection, lambda transaction: transaction.execute(self._unlock, held))

    def forsake(self, owners: Sequence[str], connection: Connection | None = None) -> None:
        """Free all that these jobs have: nobody performs them any more."""
        if owners:
            self._within(connection, lambda transaction: transaction.execute(self._forsake, {"owners": owners}))

    def forsake_ended(self, owners: Sequence[str]) -> None:
        """Free what those of these jobs have that are over: a late attempt may have taken it after their end."""
        with self._database.begin() as connection:
            connection.execute(self._forsake_ended, {"owners": owners})

    def prune(self) -> int:
        """Forget some of the locks that have ended by themselves; how many there were."""
        with self._database.begin() as connection:
            expired = [tuple(row) for row in connection.execute(self._expired)]
            if expired:
                connection.execute(self._forget, {"listed": expired})
        return len(expired)

    def _within(self, connection: object | None, work: Callable[[Connection], T]) -> T:
        with saying_what_is_missing(), saying_who_is_in_the_way():
            return self._database.within(connection, self.joins, work)


def _listed() -> ColumnElement[bool]:
    return tuple_(rows.c.tenant, rows.c.key).in_(bindparam("listed", expanding=True))


def _held(lock: Lock) -> dict[str, str]:
    return {"of_tenant": lock.tenant, "at_key": stored(lock.key), "claimant": lock.owner}

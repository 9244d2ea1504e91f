"""The ledger of idempotency keys, in a table that can commit together with the work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, and_, bindparam, delete, literal_column, or_, select, tuple_, update

from tenantjobs.envelope import new_id
from tenantjobs.errors import LeaseLost
from tenantjobs.idempotency import Claim
from tenantjobs_db.closing import insert_unless_buried, refuse_buried
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.queue import BATCH
from tenantjobs_db.tables import ledger

T = TypeVar("T")

RUNNING = "running"
DONE = "done"
LONGEST_KEY = 190  # characters, so that any database can index it; what is longer is kept as a digest
ABANDONED = 86_400.0  # seconds after its lease that a running key, which is free for anybody, is forgotten


class DatabaseLedger:
    """Keys by tenant: taken in a transaction of its own, completed in that of the work."""

    def __init__(self, database: Database, joins: Callable[[object], bool] = lambda _connection: False) -> None:
        dialect = database.dialect
        now = dialect.now()
        self._database = database
        self._joins = joins
        here = (ledger.c.tenant == bindparam("of_tenant"), ledger.c.key == bindparam("at_key"))
        ours = (*here, ledger.c.token == bindparam("our_token"), ledger.c.state == RUNNING)
        is_free = or_(
            and_(ledger.c.state == RUNNING, ledger.c.owner == bindparam("claimant")),
            and_(ledger.c.state == RUNNING, ledger.c.lease_until < now),
            and_(ledger.c.state == DONE, ledger.c.expires_at < now),
        )
        held: dict[str, Any] = {"state": RUNNING, "lease_until": dialect.after(seconds("lease"))}
        self._insert = insert_unless_buried(
            dialect,
            ledger,
            [ledger.c.tenant, ledger.c.key, ledger.c.owner, ledger.c.token, ledger.c.ttl],
            {"state": literal_column(f"'{RUNNING}'"), "lease_until": held["lease_until"]},
            counted=ledger.c.lease_until,
        )
        self._take_over = update(ledger).where(*here, is_free).values(**held, expires_at=None)
        self._state = dialect.newest(select(ledger.c.state).where(*here))
        # A key without a ttl never expires: now() and NULL seconds are NULL.
        self._complete = update(ledger).where(*ours).values(state=DONE, expires_at=dialect.after(ledger.c.ttl))
        self._release = delete(ledger).where(*ours)
        self._used_up = dialect.skip_locked(
            select(ledger.c.tenant, ledger.c.key)
            .where(
                or_(
                    and_(ledger.c.state == DONE, ledger.c.expires_at < now),
                    and_(ledger.c.state == RUNNING, ledger.c.lease_until < dialect.after(seconds("abandoned"))),
                )
            )
            .limit(BATCH),
            ledger,
        )
        self._forget = delete(ledger).where(
            tuple_(ledger.c.tenant, ledger.c.key).in_(bindparam("listed", expanding=True))
        )

    @property
    def one_writer(self) -> bool:
        return self._database.dialect.one_writer

    def acquire(
        self, tenant: str, key: str, owner: str, lease: float, ttl: float | None, connection: object | None = None
    ) -> Claim | Literal["done", "running"]:
        """Take the key, or say who has it."""
        claim = Claim(tenant, key, new_id(), within=connection is not None)
        place = {"of_tenant": tenant, "at_key": stored(key)}
        row = {
            "tenant": tenant,
            "key": place["at_key"],
            "owner": owner,
            "token": claim.token,
            "ttl": ttl,
            "lease": lease,
        }
        takeover = {"claimant": owner, "owner": owner, "token": claim.token, "ttl": ttl, "lease": lease}

        def take(transaction: Connection) -> str | None:
            """None once it is ours, else its state; '' if it was released between two statements."""
            if transaction.execute(self._insert, row).rowcount == 1:
                return None
            if transaction.execute(self._take_over, place | takeover).rowcount == 1:
                return None
            state: str | None = transaction.execute(self._state, place).scalar()
            if state is None:
                refuse_buried(transaction, [tenant])
            return state or ""

        while (state := self._within(connection, take)) == "":
            pass
        if state is None:
            return claim
        return "done" if state == DONE else "running"

    def complete(self, claim: Claim, connection: object | None) -> None:
        """Mark the key as done, with the transaction of ``connection`` if it joins; LeaseLost if another has it."""
        done = self._within(connection, lambda transaction: transaction.execute(self._complete, _held(claim)).rowcount)
        if done != 1:
            raise LeaseLost(
                f"the key {claim.key!r} of tenant {claim.tenant or None} belongs to another by now: its lease ran out"
            )

    def release(self, claim: Claim, connection: object | None = None) -> None:
        """Free the key; one that another has by now stays as it is."""
        self._within(connection, lambda transaction: transaction.execute(self._release, _held(claim)))

    def joins(self, connection: object) -> bool:
        """True if ``connection`` is one of the application's engine that the queue was configured with."""
        return self._joins(connection)

    def prune(self) -> int:
        """Forget some of the keys that nobody needs any more; how many there were."""
        with self._database.begin() as connection:
            used_up = [tuple(row) for row in connection.execute(self._used_up, {"abandoned": -ABANDONED})]
            if used_up:
                connection.execute(self._forget, {"listed": used_up})
        return len(used_up)

    def _within(self, connection: object | None, work: Callable[[Connection], T]) -> T:
        return self._database.within(connection, self._joins, work)


def _held(claim: Claim) -> dict[str, str]:
    return {"of_tenant": claim.tenant, "at_key": stored(claim.key), "our_token": claim.token}


def stored(key: str) -> str:
    """``key``, or its start and digest if it is long: longer than any short key can be, so that they never meet."""
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 64]}~{hashlib.sha256(key.encode()).hexdigest()}"

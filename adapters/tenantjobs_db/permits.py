"""The permits of limited jobs, in a table that lets no key have more of them than there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from tenantjobs.permits import Request, reserved_token
from tenantjobs_db.closing import insert_unless_buried, refuse_buried
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.ledger import stored
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.tables import permits as rows

T = TypeVar("T")


class Overtaken(Exception):
    """Another has taken a permit since we looked: to be done again from the start, with nothing locked."""


class DatabasePermits:
    """Permits by key: each has a number below the limit, and the primary key is key and number.

    So there cannot be too many, in whatever order transactions come. Whoever finds that there is none left keeps the
    rows locked to the end of its transaction, and what gives one back meanwhile waits for that.
    """

    def __init__(self, database: Database, joins: Callable[[object], bool] = lambda _connection: False) -> None:
        dialect = database.dialect
        now = dialect.now()
        self.joins = joins
        self._database = database
        until = dialect.after(seconds("seconds"))
        of_key = rows.c.key == bindparam("of_key")
        theirs = (of_key, rows.c.token == bindparam("of_token"))
        self._of_key = (
            select(rows.c.number, rows.c.token, (rows.c.expires_at < now).label("has_ended"))
            .where(of_key)
            .order_by(rows.c.number)
            .with_for_update()
        )
        self._insert = insert_unless_buried(
            dialect,
            rows,
            [rows.c.key, rows.c.number, rows.c.tenant, rows.c.owner, rows.c.token],
            {"expires_at": until},
            counted=rows.c.expires_at,
        )
        self._replace = update(rows).where(of_key, rows.c.number == bindparam("at_number")).values(expires_at=until)
        self._touch = update(rows).where(rows.c.number < 0).values(expires_at=rows.c.expires_at)
        self._renew = update(rows).where(*theirs).values(expires_at=until)
        self._held = select(rows.c.number).where(*theirs)
        self._give_back = delete(rows).where(*theirs)
        self._forsake = delete(rows).where(rows.c.owner.in_(bindparam("owners", expanding=True)))
        self._expired = dialect.skip_locked(
            select(rows.c.key, rows.c.number).where(rows.c.expires_at < now).limit(BATCH), rows
        )
        self._forget = delete(rows).where(
            tuple_(rows.c.key, rows.c.number).in_(bindparam("listed", expanding=True)), rows.c.expires_at < now
        )

    @property
    def one_writer(self) -> bool:
        return self._database.dialect.one_writer

    def take(self, requests: Sequence[Request], connection: object | None = None) -> Collection[str]:
        """Give a permit to each; the tokens of those without one."""

        def take(transaction: Connection) -> Collection[str]:
            # In a transaction that is another's, what is locked in vain is unlocked by a savepoint.
            with self._apart(transaction, connection):
                if connection is not None and self.one_writer:
                    # One that has read cannot begin to write if another one has written meanwhile.
                    transaction.execute(self._touch)
                return frozenset(request.token for request in self.take_within(transaction, requests))

        while True:
            try:
                return self._within(connection, take)
            except Overtaken:
                continue

    def take_within(self, connection: Connection, requests: Sequence[Request]) -> list[Request]:
        """The same in a transaction of the queue; those without one, whose keys are locked to its end.

        ``Overtaken`` if the transaction is to be rolled back and done again.
        """
        # In one order everywhere, so that two transactions never wait for each other.
        by_key = groupby(sorted(requests, key=lambda request: stored(request.key)), lambda request: stored(request.key))
        return [refused for key, group in by_key for refused in self._take_of(connection, key, list(group))]

    def renew(self, request: Request) -> bool:
        """Hold it for longer; False if the execution does not hold it any more."""
        values = _held(request) | {"seconds": request.seconds}
        return self._within(None, lambda transaction: transaction.execute(self._renew, values).rowcount) == 1

    def holds(self, request: Request) -> bool:
        """True if nobody else has been given the permit."""
        with self._database.autocommit() as connection:
            return connection.execute(self._held, _held(request)).first() is not None

    def give_back(self, requests: Sequence[Request], connection: object | None = None) -> None:
        """Free those that these executions still hold."""
        held = sorted(map(_held, requests), key=lambda held: tuple(held.values()))
        self._within(connection, lambda transaction: transaction.execute(self._give_back, held))

    def forsake(self, owners: Sequence[str], connection: object | None = None) -> None:
        """Free all that these jobs hold or have reserved: nobody performs them any more."""
        if owners:
            self._within(connection, lambda transaction: transaction.execute(self._forsake, {"owners": owners}))

    def prune(self) -> int:
        """Forget some of the permits that have ended by themselves; how many there were."""
        with self._database.begin() as connection:
            expired = [tuple(row) for row in connection.execute(self._expired)]
            if expired:
                connection.execute(self._forget, {"listed": expired})
        return len(expired)

    def _take_of(self, connection: Connection, key: str, requests: Sequence[Request]) -> list[Request]:
        held = {row.number: row for row in connection.execute(self._of_key, {"of_key": key})}
        live = {number: row.token for number, row in held.items() if not row.has_ended}
        refused = []
        for request in requests:
            number = _number(request, live)
            if number is None:
                refused.append(request)
            elif self._written(connection, key, number, request, is_there=number in held):
                live[number] = request.token
            else:
                raise Overtaken
        return refused

    def _written(self, connection: Connection, key: str, number: int, request: Request, *, is_there: bool) -> bool:
        row: dict[str, Any] = {
            "tenant": request.tenant,
            "owner": request.owner,
            "token": request.token,
            "seconds": request.seconds,
        }
        if is_there:
            return connection.execute(self._replace, row | {"of_key": key, "at_number": number}).rowcount == 1
        if connection.execute(self._insert, row | {"key": key, "number": number}).rowcount == 1:
            return True
        refuse_buried(connection, [request.tenant])
        return False

    def _apart(self, transaction: Connection, given: object | None) -> AbstractContextManager[object]:
        return nullcontext() if given is None or self.one_writer else transaction.begin_nested()

    def _within(self, connection: object | None, work: Callable[[Connection], T]) -> T:
        with saying_what_is_missing(), saying_who_is_in_the_way():
            return self._database.within(connection, self.joins, work)


def _number(request: Request, live: dict[int, str]) -> int | None:
    """The number to be had: that which the job has already, or one of those below the limit; None if all are taken."""
    own = (request.token, reserved_token(request.owner))
    for number, token in live.items():
        if token in own:
            return number
    if len(live) >= request.of:
        return None
    return next(number for number in range(request.of) if number not in live)


def _held(request: Request) -> dict[str, Any]:
    return {"of_key": stored(request.key), "of_token": request.token}

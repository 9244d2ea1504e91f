"""The starts of jobs with a rate, numbered by key: the one ``to`` before it says whether another one may start.

So no window of ``per`` ever has more than ``to`` of them, wherever it begins. Whoever looks holds the row of the key to
the end of its transaction, and a start is a row of its own: one whose worker died has been counted all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, bindparam, delete, literal_column, or_, select, update

from tenantjobs.rates import Start
from tenantjobs_db.closing import insert_unless_buried, refuse_buried
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.ledger import stored
from tenantjobs_db.permits import Overtaken
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.tables import rates as rows
from tenantjobs_db.tables import starts


class DatabaseRates:
    """Counts starts by the clock of the database."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        of_key = rows.c.key == bindparam("of_key")
        self._enter = insert_unless_buried(
            dialect,
            rows,
            [rows.c.key, rows.c.tenant],
            {"expires_at": dialect.after(seconds("lasting")), "number": literal_column("0")},
        )
        self._lock = select(rows).where(of_key).with_for_update()
        self._lock_if_free = dialect.skip_locked(select(rows).where(of_key), rows)
        # A statement of its own: the moment after the lock was had, and not that before it was waited for.
        self._now = select(dialect.now().label("now"))
        self._before = select(starts.c.number, starts.c.started_at).where(
            starts.c.key == bindparam("of_key"),
            or_(
                starts.c.number.between(bindparam("long_from"), bindparam("long_to")),
                starts.c.number.between(bindparam("short_from"), bindparam("short_to")),
            ),
        )
        self._insert = dialect.insert_new(starts)
        self._advance = (
            update(rows)
            .where(of_key)
            .values(
                number=bindparam("new_number"),
                allowed=bindparam("new_allowed"),
                seconds=bindparam("new_seconds"),
                burst=bindparam("new_burst"),
                expires_at=dialect.after(seconds("lasting")),
            )
        )
        self._let_out = update(rows).where(of_key).values(let_out_until=bindparam("until"))
        self._over = delete(starts).where(starts.c.key == bindparam("of_key"), starts.c.number < bindparam("below"))
        self._expired = dialect.skip_locked(
            select(rows.c.key).where(rows.c.expires_at < dialect.now()).limit(BATCH), rows
        )
        self._forget_starts = delete(starts).where(starts.c.key.in_(bindparam("listed", expanding=True)))
        self._forget = delete(rows).where(rows.c.key.in_(bindparam("listed", expanding=True)))

    def start(self, wanted: Start) -> float:
        """Count it if it may start: 0; else the seconds until it may be asked again."""
        while True:
            try:
                with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.begin() as connection:
                    return self.start_within(connection, [wanted]).get(wanted.owner, 0.0)
            except Overtaken:
                continue

    def start_within(self, connection: Connection, wanted: Sequence[Start], *, waits: bool = True) -> dict[str, float]:
        """The same for many in a transaction of the queue: by the owners of those that may not start, how long not.

        ``Overtaken`` if the transaction is to be rolled back and done again. With ``waits=False`` it is not raised, and
        nothing is waited for: none may start now of a key that another one is counting.
        """
        # In one order everywhere, so that two transactions never wait for each other.
        by_key = groupby(sorted(wanted, key=lambda start: stored(start.key)), lambda start: stored(start.key))
        return {owner: wait for key, group in by_key for owner, wait in self._of(connection, key, list(group), waits)}

    def moments(self, connection: Connection, key: str, horizon: float, most: int) -> list[datetime]:
        """The moments at which up to ``most`` more may start, within ``horizon`` seconds; each is given once."""
        row = connection.execute(self._lock, {"of_key": key}).first()
        now = connection.execute(self._now).scalar_one()
        if row is None:
            return [now] * most  # nothing counts any more
        known = self._known(connection, key, row.number, row.allowed, row.burst, most)
        since = max(now, row.let_out_until) if row.let_out_until is not None else now
        until = now + timedelta(seconds=horizon)
        found: list[datetime] = []
        number = row.number
        while len(found) < most:
            moment = max(since, _earliest(known, number, row.allowed, row.seconds, row.burst) or since)
            if moment >= until:
                break
            known[number] = moment
            found.append(moment)
            number += 1
        if found:
            connection.execute(self._let_out, {"of_key": key, "until": until if len(found) < most else found[-1]})
        return found

    def prune(self) -> int:
        """Forget some of the keys of which nothing counts any more; how many there were."""
        with self._database.begin() as connection:
            expired = list(connection.execute(self._expired).scalars())
            if expired:
                connection.execute(self._forget_starts, {"listed": expired})
                connection.execute(self._forget, {"listed": expired})
        return len(expired)

    def _of(
        self, connection: Connection, key: str, wanted: Sequence[Start], waits: bool
    ) -> Iterator[tuple[str, float]]:
        rule = wanted[0]
        connection.execute(self._enter, {"key": key, "tenant": rule.tenant, "lasting": rule.seconds})
        row = connection.execute(self._lock if waits else self._lock_if_free, {"of_key": key}).first()
        if row is None and waits:
            refuse_buried(connection, [rule.tenant])
            raise Overtaken  # it was forgotten between the two
        if row is None:
            yield from ((start.owner, 0.0) for start in wanted)
            return
        now = connection.execute(self._now).scalar_one()
        known = self._known(connection, key, row.number, rule.to, rule.burst, len(wanted))
        number = row.number
        new: list[dict[str, Any]] = []
        for start in wanted:
            earliest = _earliest(known, number, rule.to, rule.seconds, rule.burst)
            if earliest is not None and earliest > now:
                yield start.owner, (earliest - now).total_seconds()
            else:
                known[number] = now
                new.append({"key": key, "number": number, "started_at": now})
                number += 1
        values = {"new_number": number, "new_allowed": rule.to, "new_seconds": rule.seconds, "new_burst": rule.burst}
        connection.execute(self._advance, values | {"of_key": key, "lasting": rule.seconds})
        if new:
            connection.execute(self._insert, new)
            connection.execute(self._over, {"of_key": key, "below": number - rule.to})

    def _known(
        self, connection: Connection, key: str, number: int, to: int, burst: int, count: int
    ) -> dict[int, datetime]:
        wish = {
            "of_key": key,
            "long_from": number - to,
            "long_to": number - to + count,
            "short_from": number - burst,
            "short_to": number - burst + count,
        }
        return {row.number: row.started_at for row in connection.execute(self._before, wish)}


def _earliest(known: dict[int, datetime], number: int, to: int, seconds: float, burst: int) -> datetime | None:
    """When the start of this number may be; None for at any time."""
    bounds = (
        known[number - count] + timedelta(seconds=window)
        for count, window in ((to, seconds), (burst, seconds * burst / to))
        if number - count in known
    )
    return max(bounds, default=None)


def tenant_key(tenant: str) -> str:
    """What the starts of a tenant are counted by that operators have given a rate; the keys of policies are JSON."""
    return f"tenant {tenant}"

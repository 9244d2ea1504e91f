"""The ticks of recurring jobs: a row for each that was enqueued, whose key lets no two schedulers have the same."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, or_, select, tuple_, update

from tenantjobs import clock
from tenantjobs.ticks import State, Tick
from tenantjobs_db.closing import insert_unless_closed
from tenantjobs_db.database import Database
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import saying_what_is_missing
from tenantjobs_db.tables import recurring, ticks

KEPT = timedelta(days=7)  # how long a tick is known after it was enqueued


class DatabaseTicks:
    """In the database of the queue: a tick and its job commit together."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        of_key = recurring.c.key == bindparam("of_key")
        moment = bindparam("moment", type_=recurring.c.planned_at.type)
        at = bindparam("at", type_=recurring.c.last_at.type)
        entry = bindparam("as_entry", type_=recurring.c.entry.type)
        paused = bindparam("as_paused", type_=recurring.c.paused.type)
        self._states = select(recurring)
        self._begin = dialect.insert_new(recurring)
        self._advance = update(recurring).where(of_key, recurring.c.planned_at < moment).values(planned_at=moment)
        self._note = (
            update(recurring)
            .where(of_key, or_(recurring.c.last_at.is_(None), recurring.c.last_at < at))
            .values(last_at=at)
        )
        self._pause = update(recurring).where(of_key).values(paused=paused)
        self._resume = update(recurring).where(of_key).values(paused=paused, planned_at=moment)
        self._put = update(recurring).where(of_key).values(entry=entry, planned_at=moment)
        self._remove = delete(recurring).where(of_key, recurring.c.entry.is_not(None))
        here = tuple_(ticks.c.key, ticks.c.tenant, ticks.c.period).in_(bindparam("listed", expanding=True))
        self._found = select(ticks.c.key, ticks.c.tenant, ticks.c.period, ticks.c.token).where(here)
        self._take = insert_unless_closed(dialect, ticks, list(ticks.c), {})
        # Not what an entry has still to come to: whoever was stopped half way through all tenants goes on there.
        over = (
            select(recurring.c.key)
            .where(recurring.c.key == ticks.c.key, recurring.c.planned_at < ticks.c.due_at)
            .exists()
        )
        self._old = dialect.skip_locked(
            select(ticks.c.key, ticks.c.tenant, ticks.c.period)
            .where(ticks.c.taken_at < bindparam("before", type_=ticks.c.taken_at.type), ~over)
            .limit(BATCH),
            ticks,
        )
        self._forget = delete(ticks).where(here)

    def states(self) -> Mapping[str, State]:
        with saying_what_is_missing(), self._database.autocommit() as connection:
            return {
                row.key: State(row.planned_at, bool(row.paused), row.entry, row.last_at)
                for row in connection.execute(self._states)
            }

    def begin(self, key: str, moment: datetime) -> None:
        with saying_what_is_missing(), self._database.begin() as connection:
            self._begin_within(connection, key, moment)

    def advance(self, key: str, moment: datetime, *, enqueued: datetime | None = None) -> None:
        with self._database.begin() as connection:
            connection.execute(self._advance, {"of_key": key, "moment": moment})
            if enqueued is not None:
                connection.execute(self._note, {"of_key": key, "at": enqueued})

    def untaken(self, ticks: Sequence[Tick]) -> list[Tick]:
        if not ticks:
            return []
        with saying_what_is_missing(), self._database.autocommit() as connection:
            rows = connection.execute(self._found, {"listed": [_place(tick) for tick in ticks]})
            taken = {(row.key, row.tenant, row.period) for row in rows}
        return [tick for tick in ticks if _place(tick) not in taken]

    def take(self, ticks: Sequence[Tick], connection: object) -> Collection[Tick]:
        assert isinstance(connection, Connection), "the transaction is one of the queue"
        # In one order everywhere, so that two transactions never wait for each other.
        places = {_place(tick): tick for tick in sorted(ticks, key=_place)}
        token, now = uuid.uuid4().hex, clock.now()
        connection.execute(
            self._take,
            [
                {"key": key, "tenant": tenant, "period": period, "due_at": tick.at, "token": token, "taken_at": now}
                for (key, tenant, period), tick in places.items()
            ],
        )
        rows = connection.execute(self._found, {"listed": list(places)})
        return {places[row.key, row.tenant, row.period] for row in rows if row.token == token}

    def pause(self, key: str, moment: datetime) -> None:
        with saying_what_is_missing(), self._database.begin() as connection:
            self._begin_within(connection, key, moment)
            connection.execute(self._pause, {"of_key": key, "as_paused": True})

    def resume(self, key: str, moment: datetime) -> None:
        with saying_what_is_missing(), self._database.begin() as connection:
            paused = select(recurring.c.paused).where(recurring.c.key == key)
            if connection.execute(paused).scalar():  # what was not paused has nothing to leave out
                connection.execute(self._resume, {"of_key": key, "as_paused": False, "moment": moment})

    def put(self, key: str, entry: str, moment: datetime) -> None:
        with saying_what_is_missing(), self._database.begin() as connection:
            self._begin_within(connection, key, moment)
            connection.execute(self._put, {"of_key": key, "as_entry": entry, "moment": moment})

    def remove(self, key: str) -> None:
        with saying_what_is_missing(), self._database.begin() as connection:
            connection.execute(self._remove, {"of_key": key})

    def prune(self) -> int:
        """Forget some of the ticks that nobody asks for any more; how many there were."""
        with self._database.begin() as connection:
            old = [tuple(row) for row in connection.execute(self._old, {"before": clock.now() - KEPT})]
            if old:
                connection.execute(self._forget, {"listed": old})
        return len(old)

    def _begin_within(self, connection: Connection, key: str, moment: datetime) -> None:
        connection.execute(self._begin, {"key": key, "planned_at": moment, "paused": False})


def _place(tick: Tick) -> tuple[str, str, str]:
    return tick.key, tick.tenant, tick.period

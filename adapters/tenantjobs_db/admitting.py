"""The claim of a gate: as many jobs as the queues of a broker may hold, in the turns that tenants have.

What a broker has is claimed by it: to the table, it is a process like any other, and what waits there and what runs
there are the rows that are claimed. So a depth is counted and never kept, and cannot drift; and a cap of a tenant, a
limit and a rate hold as they do for workers of our own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from tenantjobs.config.settings import GateSettings
from tenantjobs_db.calling import Calling
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.costs import Costs
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.limiting import Limiting
from tenantjobs_db.rooms import Reserve, Rooms
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import CLAIMED, PRUNED, READY, in_state, jobs, processes

# Seconds. After so long without any gate, what the broker has is nobody's: the section [gate] was taken away.
BROKER_LEASE = 3600.0
BROKER = "broker"  # the kind of process that it is
BATCH = 500
LEARNING = 1.0  # seconds between two looks at how long jobs take


def broker_id(adapter: str) -> str:
    """The process that the broker of ``adapter`` is to the table."""
    return f"broker:{adapter}"


# How many jobs of each queue wait in the broker or run, by their tenants.
Held = Mapping[str, Mapping[str, int]]


class Admitting(Consumer):
    """Claims for the broker. Any number of gates may be at it: one at a time counts what there is."""

    def __init__(
        self, database: Database, selection: Selection, settings: GateSettings, *, keep_finished: bool, reserve: float
    ) -> None:
        self._costs = Costs()
        super().__init__(database, selection, keep_finished=keep_finished, costs=self._costs)
        self._exchange = None  # what the broker has is counted before a claim, under a lock
        now = database.dialect.now()
        self.broker = broker_id(settings.adapter)
        self.is_idle = False  # nothing has waited to be let through
        self._settings = settings
        self._share = reserve
        self._reserves: dict[str, Reserve] = {}
        self._learned_until: datetime | None = None
        self._learn_at = 0.0
        self._claims_of = Limiting(database)
        self._calling = Calling(database.dialect)
        row = processes.c.id == bindparam("process")
        self._enter = database.dialect.insert_new(processes).values(
            kind=BROKER, host=settings.adapter, pid=0, started_at=now, expires_at=now
        )
        self._beat = update(processes).where(row).values(expires_at=database.dialect.after(seconds("lease")))
        self._alone = select(processes.c.id).where(row).with_for_update()
        self._all_held = (
            select(jobs.c.queue, jobs.c.tenant, func.count().label("held"))
            .where(in_state(CLAIMED))
            .group_by(jobs.c.queue, jobs.c.tenant)
        )
        self._now = select(now)
        self._ended = (
            select(jobs.c.queue, jobs.c.tenant, jobs.c.claimed_at, jobs.c.finished_at)
            .where(
                in_state(*PRUNED),
                jobs.c.finished_at > bindparam("since", type_=jobs.c.finished_at.type),
                jobs.c.claimed_at.is_not(None),
            )
            .order_by(jobs.c.finished_at.desc())
            .limit(BATCH)
        )
        lost = (
            select(jobs.c.id, jobs.c.fence)
            .where(
                in_state(CLAIMED),
                jobs.c.claimed_by == bindparam("process"),
                jobs.c.claimed_at < database.dialect.after(seconds("since")),
            )
            .order_by(jobs.c.id)
            .limit(BATCH)
        )
        self._lost = database.dialect.skip_locked(lost, jobs)
        self._take_back = (
            update(jobs).where(jobs.c.id.in_(bindparam("listed", expanding=True))).values(state=READY, claimed_by=None)
        )

    def beat(self) -> None:
        """Say that there is a gate for the broker."""
        with self._database.begin() as connection:
            connection.execute(self._enter, {"id": self.broker})
            connection.execute(self._beat, {"process": self.broker, "lease": BROKER_LEASE})

    def admit(self) -> list[Claimed]:
        """Claim as many jobs as the broker may have in addition."""
        if time.monotonic() >= self._learn_at:
            self._learn_at = time.monotonic() + LEARNING
            self.learn()
        with self._database.autocommit() as connection:
            held = self._held_of_broker(connection)
        # A look that writes nothing, since most find the broker full, or nothing that waits.
        queues = self._queue.ready_queues()
        self.is_idle = not queues
        free = [self._settings.depth_of(queue) - sum(held[queue].values()) for queue in queues]
        room = sum(count for count in free if count > 0)
        return self.exchange(self.broker, (), room).claimed if room else []

    def learn(self) -> None:
        """See in the table how long jobs have taken that ended since the last time, or the latest of very many."""
        with self._database.autocommit() as connection:
            if self._learned_until is None:
                self._learned_until = connection.execute(self._now).scalar_one()
            ended = connection.execute(self._ended, {"since": self._learned_until}).all()
        if ended:
            self._learned_until = ended[0].finished_at
            self._costs.learn_of(
                (row.queue, row.tenant, (row.finished_at - row.claimed_at).total_seconds()) for row in reversed(ended)
            )

    def take_back(self) -> list[str]:
        """Make those ready again that nobody has started since the broker was given them; their ids."""
        with self._database.begin() as connection:
            wish = {"process": self.broker, "since": -self._settings.lease}
            lost = connection.execute(self._lost, wish).all()
            if lost:
                connection.execute(self._take_back, {"listed": [row.id for row in lost]})
                self._calling.call(connection, [row.id for row in lost])
                self._claims_of.buried(connection, [(row.id, row.fence) for row in lost])
        return [row.id for row in lost]

    def _claimed(
        self, connection: Connection, process: str, queues: Sequence[str], wanted: int, rooms: Rooms
    ) -> list[Claimed]:
        if not queues or not wanted:
            return []
        connection.execute(self._alone, {"process": process})
        held = self._held_of_broker(connection)
        claimed: list[Claimed] = []
        for queue in queues:
            depth = self._settings.depth_of(queue)
            room = min(wanted - len(claimed), depth - sum(held[queue].values()))
            if room > 0:
                rooms = self._rooms(queue, depth, held[queue])
                found = super()._claimed(connection, process, [queue], room, rooms)
                self._reserves[queue].saw({claim.tenant for claim in found})
                claimed += found
        return claimed

    def _rooms(self, queue: str, depth: int, held: Mapping[str, int]) -> Rooms:
        """What each tenant may have in addition, so that none has all of a queue while others come and go."""
        reserve = self._reserves.setdefault(queue, Reserve(depth, self._share))
        if not reserve.in_force:
            return Rooms()
        return Rooms(reserve.most, {tenant: max(0, reserve.most - count) for tenant, count in held.items()})

    def _held_of_broker(self, connection: Connection) -> Held:
        held: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for row in connection.execute(self._all_held):
            held[row.queue][row.tenant] = row.held
        return held

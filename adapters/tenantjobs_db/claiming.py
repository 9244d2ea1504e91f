"""The claim: jobs go from ready to claimed, taking turns over the tenants that have work.

A claim looks only at the head of each tenant's line: a bounded skip scan over the index (queue, tenant, priority, id)
of ready jobs finds up to as many tenants as jobs are wanted, starting right of the tenant that was served last and
going round. No tenant has a row to be written, and neither the backlog nor the number of tenants makes a claim dearer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, text

from tenantjobs_db.arrays import NONE, literal
from tenantjobs_db.costs import Costs
from tenantjobs_db.database import Database
from tenantjobs_db.entries_read import entries_read
from tenantjobs_db.from_marks import MarkedClaim
from tenantjobs_db.heads import CLASSES_MET, WITHIN_ROOMS, claims_of, taken
from tenantjobs_db.instructions import Instructions
from tenantjobs_db.marks import Marks
from tenantjobs_db.picking import Picking
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.turns import Turns

# A look at the lines of a queue, for so many jobs.
Look = Callable[[str, int, Rooms], list[Claimed]]

KNOWN_FOR = 1.0  # seconds: while a tenant or a class is paused, it is asked this often whether one still is


class Claiming:
    """Claims for one process: by one statement a pass, or as ``Picking`` does where what is said or costs want it."""

    def __init__(self, database: Database, costs: Costs | None = None, *, patient: bool = False) -> None:
        self._database = database
        self._patient = patient
        self._at_once = SetBasedClaim() if database.dialect.set_based else None
        self._picking = Picking(database)
        self._costs = costs or Costs()
        self._turns = Turns(self._costs)
        self.marks = Marks(self._turns)
        self.from_marks = MarkedClaim(self.marks)
        self._picks = False
        self._skips = False
        self._paused = NONE
        self._known_until = 0.0

    def claim(
        self, connection: Connection, process: str, queues: Sequence[str], wanted: int, rooms: Rooms
    ) -> list[Claimed]:
        """Up to ``wanted`` jobs, from the first of ``queues`` that have some."""
        asked_at_once = self._asks_at_once(queues)
        if self._at_once is not None and asked_at_once:
            by_turns = partial(self._fairly, self._at_once, connection, process)
            claimed = self._from_each(queues, wanted, rooms, by_turns, connection, process)
            if claimed:
                return claimed
        paused = self.paused
        said = self._said(connection)
        if asked_at_once and not said.picked and self.paused == paused:
            return []
        return self._picked(
            connection, process, [queue for queue in queues if queue not in said.queues], wanted, rooms, said
        )

    def at_once(self, queues: Sequence[str]) -> bool:
        """Whether a claim from ``queues`` is one statement, of which others may be a part: see ``SetBasedExchange``."""
        return len(queues) == 1 and self._asks_at_once(queues)

    def goes_on(self, queues: Sequence[str]) -> bool:
        """Whether it goes on from its marks by one statement, see ``MarkedExchange``."""
        return len(queues) == 1 and not self._picks and self.paused == NONE and self.marks.in_use(queues[0])

    def cursor(self, queue: str) -> str:
        """Whose turn it is in the queue."""
        return self._turns.cursor(queue)

    @property
    def skips(self) -> bool:
        """Whether some tenant is paused, so that a claim has to leave it out."""
        return self._skips and time.monotonic() < self._known_until

    @property
    def paused(self) -> str:
        """The names of jobs whose class is paused, as an array of PostgreSQL."""
        return self._paused if time.monotonic() < self._known_until else NONE

    def took(self, queue: str, batch: Sequence[Claimed], rooms: Rooms) -> bool:
        """Such a claim has found these. True if another one may find more, where they are fewer than it asked for."""
        if not batch:
            return self.found_nothing()
        rooms.take(batch)
        self._turns.advance(queue, batch)
        return _were_several(batch, rooms)

    def found_nothing(self) -> bool:
        """True if that is for what is said, and another claim may find something."""
        skipped, paused = self.skips, self.paused
        with self._database.autocommit() as connection:
            said = self._said(connection)
        # Where it knew of the class, one of its jobs may have been in the way.
        self._picks = said.picked or (paused != NONE and self.paused == paused)
        return self._picks or self.paused != paused or (said.tenants and not skipped)

    def _said(self, connection: Connection) -> Instructions:
        said = Instructions.read(connection)
        self._picks = said.picked
        self._skips = said.tenants
        self._paused = literal(sorted(said.jobs))
        self._known_until = time.monotonic() + KNOWN_FOR
        return said

    def _asks_at_once(self, queues: Sequence[str]) -> bool:
        return self._at_once is not None and not self._picks and not any(map(self._costs.differ, queues))

    def _fairly(
        self, claim: SetBasedClaim, connection: Connection, process: str, queue: str, wanted: int, rooms: Rooms
    ) -> list[Claimed]:
        claimed: list[Claimed] = []
        while (missing := wanted - len(claimed)) > 0:
            paused = self.paused
            batch = claim(connection, process, queue, self._turns.cursor(queue), missing, rooms, paused)
            if not batch and paused != NONE:
                said = Instructions.read(connection)
                return claimed + self._picking.claim(connection, process, queue, self._turns, missing, rooms, said)
            if not batch:
                break
            claimed += batch
            rooms.take(batch)
            self._turns.advance(queue, batch)
            if len(batch) < missing and not _were_several(batch, rooms):
                break
        return claimed

    def _picked(
        self,
        connection: Connection,
        process: str,
        queues: Sequence[str],
        wanted: int,
        rooms: Rooms,
        said: Instructions,
    ) -> list[Claimed]:
        def picked(queue: str, missing: int, rooms: Rooms) -> list[Claimed]:
            return self._picking.claim(connection, process, queue, self._turns, missing, rooms, said)

        return self._from_each(queues, wanted, rooms, picked, connection, process)

    def _from_each(
        self, queues: Sequence[str], wanted: int, rooms: Rooms, look: Look, connection: Connection, process: str
    ) -> list[Claimed]:
        """In the order of the queues: by a look at the lines of each, or from its marks where that is dear."""
        claimed: list[Claimed] = []
        for queue in queues:
            missing = wanted - len(claimed)
            if not missing:
                break
            found: list[Claimed] = []
            goes_on = self.goes_on([queue])
            if goes_on:
                found = self.from_marks.on(connection, process, queue, missing, rooms)
            if not goes_on or not (found or self._patient):
                found = self._looked(connection, queue, partial(look, queue, missing, rooms))
            claimed += found
        return claimed

    def _looked(self, connection: Connection, queue: str, look: Callable[[], list[Claimed]]) -> list[Claimed]:
        if self._at_once is None:
            return look()
        before, start = entries_read(connection), time.monotonic()
        found = look()
        seconds = time.monotonic() - start
        self.marks.looked(queue, entries_read(connection) - before, seconds, found)
        return found


def _were_several(batch: Sequence[Claimed], rooms: Rooms) -> bool:
    """False if a tenant that was alone was offered everything."""
    return len({claim.tenant for claim in batch}) > 1 or bool(rooms.full)


class SetBasedClaim:
    """One pass as one statement (PostgreSQL)."""

    STATEMENT = text(f"WITH RECURSIVE {WITHIN_ROOMS} {taken(CLASSES_MET)}")

    def __call__(
        self, connection: Connection, process: str, queue: str, cursor: str, wanted: int, rooms: Rooms, paused: str
    ) -> list[Claimed]:
        wish = wished(process, queue, cursor, wanted, rooms, paused)
        return claims_of(connection.execute(self.STATEMENT, wish).all(), process, queue)


def wished(process: str, queue: str, cursor: str, wanted: int, rooms: Rooms, paused: str) -> dict[str, Any]:
    """The parameters of both."""
    full = rooms.full
    return {
        "process": process,
        "queue": queue,
        "cursor": cursor,
        "wanted": wanted,
        "most": rooms.most,
        "full": full,
        "busy": list(rooms.left),
        "rooms": list(rooms.left.values()),
        "probes": wanted + len(full),
        "paused": paused,
    }

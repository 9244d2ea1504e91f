"""One process's end of the queue: it settles what it has done and claims what comes next in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from tenantjobs import faults
from tenantjobs_db.claiming import Claiming
from tenantjobs_db.costs import Costs
from tenantjobs_db.database import Database
from tenantjobs_db.exchange_at_once import SetBasedExchange
from tenantjobs_db.exchange_from_marks import MarkedExchange
from tenantjobs_db.limiting import Limiting
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.marks import SPARED
from tenantjobs_db.pacing import Pacing
from tenantjobs_db.queue import Queue
from tenantjobs_db.rooms import Reserve, Rooms
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Finish, Settlement
from tenantjobs_db.settling import Settling
from tenantjobs_db.tables import CLAIMED, READY, in_state, jobs

REFILLS = 50  # claims that are made up for in one exchange
KNOWN_FOR = 1.0  # seconds: while a queue fills every claim, others are looked for this often
DEAR = 0.1  # seconds: what takes longer than this to ask for is not asked for most of the time


class Exchange(msgspec.Struct, frozen=True):
    """What came of it: the jobs to start, and the settlements that were refused."""

    claimed: list[Claimed] = []
    refused: Sequence[Settlement] = ()


class Consumer:
    """Claims for one process at a time, fairly; to be used by one thread.

    A ``patient`` one comes again: that it finds nothing need not mean that nothing is there, while it is dear to look.
    """

    def __init__(
        self,
        database: Database,
        selection: Selection,
        *,
        keep_finished: bool = True,
        reserve: Reserve | None = None,
        costs: Costs | None = None,
        patient: bool = False,
    ) -> None:
        self._patient = patient
        self._database = database
        self._selection = selection
        self._queue = Queue(database)
        self._settling = Settling(database.dialect, keep_finished=keep_finished)
        self._claiming = Claiming(database, costs, patient=patient)
        self._exchange = SetBasedExchange.on(database, keep_finished=keep_finished)
        self._marked = MarkedExchange.on(database, self._claiming.from_marks, keep_finished=keep_finished)
        self._reserve = Reserve(1, 0.0) if reserve is None else reserve
        self._locks = DatabaseLocks(database)
        self._limiting = Limiting(database)
        self._pacing = Pacing(database, self._limiting)
        self._queues: list[str] = []
        self._queues_until = 0.0
        self._ask_again = 0.0  # where it is as dear to ask for queues as to look at their lines
        ours = (in_state(CLAIMED), jobs.c.claimed_by == bindparam("process"))
        self._held = select(jobs.c.id, jobs.c.fence).where(*ours)
        self._give_back = (
            update(jobs)
            .where(*ours, jobs.c.id == bindparam("job_id"), jobs.c.fence == bindparam("job_fence"))
            .values(state=READY, claimed_by=None)
        )

    def exchange(
        self,
        process: str,
        settlements: Sequence[Settlement] = (),
        wanted: int = 0,
        running: Collection[Claimed] = (),
        called: Collection[str] = (),
    ) -> Exchange:
        """Settle, and claim up to ``wanted`` jobs for ``process`` beside what is ``running``.

        We were ``called`` for the jobs of some queues: they are claimed without asking first where there are any.

        What is settled commits together, and with it what the first claim has found; a claim that makes up for tenants
        who had fewer jobs than their share may have a transaction of its own. Limited jobs that may not start yet are
        put aside in transactions of their own, and others claimed for them.
        """
        if settlements:
            faults.point("before_acknowledge")
        if wanted:
            faults.point("before_claim")
        queues = self._with_work(called) if wanted else []
        if not settlements and not queues:
            return Exchange()
        rooms = self._reserve.rooms(running, wanted)
        found, refused, let_out = self._exchanged(process, settlements, queues, wanted, rooms)
        if refused:
            self._locks.forsake_ended([settlement.claim.id for settlement in refused])
        claimed = self._admitted(found, rooms)
        if len(claimed) < wanted and (let_out or len(claimed) < len(found) or (called and not found)):
            self._queues_until = 0.0  # they have changed since we looked
            claimed += self._instead(process, self._with_work(), wanted - len(claimed), rooms)
        if wanted and len(claimed) < wanted:
            self._queues_until = 0.0
        self._reserve.saw({claim.tenant for claim in claimed})
        if settlements:
            faults.point("after_acknowledge")
        if claimed:
            faults.point("after_claim")
        return Exchange(claimed, refused)

    def give_back_unknown(self, process: str, known: Collection[tuple[str, int]]) -> int:
        """Give back what ``process`` holds without knowing: the claims of a commit whose answer was lost."""
        with self._database.begin() as connection:
            held = connection.execute(self._held, {"process": process}).all()
            unknown = [
                {"job_id": row.id, "job_fence": row.fence, "process": process}
                for row in held
                if (row.id, row.fence) not in known
            ]
            if unknown:
                connection.execute(self._give_back, unknown)
        return len(unknown)

    def _exchanged(
        self, process: str, settlements: Sequence[Settlement], queues: Sequence[str], wanted: int, rooms: Rooms
    ) -> tuple[list[Claimed], Sequence[Settlement], int]:
        """Found, refused, and the number of jobs that were let out: by one statement if that will do."""
        if queues and self._marked is not None and self._claiming.goes_on(queues):
            finishes = self._settling.finishes(settlements, process)
            if finishes is not None:
                found, refused = self._from_marks(self._marked, process, finishes, queues[0], wanted, rooms)
                if found or self._patient:
                    return found, refused, 0
                settlements = refused
        exchange = self._exchange if not queues or self._claiming.at_once(queues) else None
        finishes = None if exchange is None else self._settling.finishes(settlements, process)
        if exchange is None or finishes is None:
            return self._step_by_step(process, settlements, queues, wanted, rooms)
        if queues:
            return *self._at_once(exchange, process, finishes, queues[0], wanted, rooms), 0
        with self._database.autocommit() as connection:
            return [], self._settling.settle(connection, finishes), 0

    def _at_once(
        self,
        exchange: SetBasedExchange,
        process: str,
        finishes: Sequence[Finish],
        queue: str,
        wanted: int,
        rooms: Rooms,
    ) -> tuple[list[Claimed], Sequence[Settlement]]:
        """What most exchanges are: one statement, which commits by itself."""
        refused: Sequence[Settlement]
        start = time.monotonic()
        found, refused, read = exchange(
            process,
            finishes,
            queue,
            self._claiming.cursor(queue),
            wanted,
            rooms,
            skips=self._claiming.skips,
            paused=self._claiming.paused,
        )
        self._claiming.marks.looked(queue, read, time.monotonic() - start, found)
        has_more = self._claiming.took(queue, found, rooms) and len(found) < wanted
        self._selection.served(queue, len(found))
        if has_more or refused:
            with self._database.begin() as transaction:
                refused = self._settling.settle(transaction, refused)
                found += self._claimed(transaction, process, [queue], wanted - len(found), rooms) if has_more else []
        return found, refused

    def _from_marks(
        self,
        marked: MarkedExchange,
        process: str,
        finishes: Sequence[Finish],
        queue: str,
        wanted: int,
        rooms: Rooms,
    ) -> tuple[list[Claimed], Sequence[Settlement]]:
        """The same where it is dear to look at the lines as a whole, and this is not the time for it."""
        refused: Sequence[Settlement]
        found, refused = marked(process, finishes, queue, wanted, rooms)
        if not found:
            self._claiming.found_nothing()
        self._selection.served(queue, len(found))
        if refused:
            with self._database.begin() as transaction:
                refused = self._settling.settle(transaction, refused)
        return found, refused

    def _step_by_step(
        self, process: str, settlements: Sequence[Settlement], queues: Sequence[str], wanted: int, rooms: Rooms
    ) -> tuple[list[Claimed], Sequence[Settlement], int]:
        """Any exchange, as a transaction."""
        refused: list[Settlement] = []
        let_out = 0
        with self._database.begin() as connection:
            if settlements:
                refused = self._settling.settle(connection, settlements)
                let_out = self._limiting.settled(connection, [settlement.claim for settlement in settlements])
            found = self._claimed(connection, process, queues, wanted, rooms)
        return found, refused, let_out

    def _claimed(
        self, connection: Connection, process: str, queues: Sequence[str], wanted: int, rooms: Rooms
    ) -> list[Claimed]:
        claimed = self._claiming.claim(connection, process, queues, wanted, rooms) if queues and wanted else []
        for queue, count in Counter(claim.queue for claim in claimed).items():
            self._selection.served(queue, count)
        return claimed

    def _admitted(self, found: Sequence[Claimed], rooms: Rooms) -> list[Claimed]:
        admitted = self._pacing.admitted(self._limiting.admitted(found))
        if len(admitted) < len(found):
            ids = {claim.id for claim in admitted}
            rooms.give_back(claim for claim in found if claim.id not in ids)
        return admitted

    def _instead(self, process: str, queues: Sequence[str], wanted: int, rooms: Rooms) -> list[Claimed]:
        """What may start in the place of limited jobs that were put aside, and what was just let out."""
        claimed: list[Claimed] = []
        for _ in range(REFILLS):
            with self._database.begin() as connection:
                found = self._claimed(connection, process, queues, wanted - len(claimed), rooms)
            admitted = self._admitted(found, rooms)
            claimed += admitted
            if len(admitted) == len(found):
                break
        return claimed

    def _with_work(self, called: Collection[str] = ()) -> list[str]:
        """The queues to claim from now, in turn. As long as they fill every claim, the list is kept for a moment."""
        now = time.monotonic()
        if not self._queues or now >= self._queues_until:
            if called:
                return self._selection.in_turn(list(called))
            if now >= self._ask_again or not self._patient:
                self._queues = self._queue.ready_queues()
                took = time.monotonic() - now
                self._queues_until = now + KNOWN_FOR
                self._ask_again = now + (1 + SPARED) * took if took > DEAR else now
        return self._selection.in_turn(self._queues)

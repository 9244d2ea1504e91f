"""The exchange that goes on where the last one has ended, see ``Marks`` (PostgreSQL)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import text

from tenantjobs_db.claiming import claims_of
from tenantjobs_db.database import Database
from tenantjobs_db.exchange_at_once import done, ended, refused, settling_and_claiming
from tenantjobs_db.heads import taken
from tenantjobs_db.marks import Marks
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.settlement import Claimed, Finish

MOST_PASSES = 4  # of one exchange, as long as there are tenants who had all that was asked of them

# The ranges of a tenant are gone through in their order, and no further than its share goes.
FROM_MARKS = """
    turns (tenant, share, first, last) AS (
        SELECT * FROM unnest(
            CAST(:tenants AS text[]), CAST(:shares AS int[]), CAST(:first AS int[]), CAST(:last AS int[])
        )
    ),
    ranges (priorities, places, below) AS (
        SELECT CAST(:priorities AS int[]), CAST(:places AS text[]), CAST(:below AS bigint[])
    ),
    heads AS (
        SELECT line.ctid FROM turns CROSS JOIN LATERAL (
            SELECT job.ctid FROM ranges
            CROSS JOIN LATERAL generate_series(turns.first, turns.last) AS n
            CROSS JOIN LATERAL (
                SELECT ctid FROM tj_jobs
                WHERE state = 'ready' AND queue = :queue AND tenant = turns.tenant
                  AND (priority, id) > (ranges.priorities[n], ranges.places[n]) AND priority < ranges.below[n]
                ORDER BY priority, id LIMIT turns.share FOR UPDATE SKIP LOCKED
            ) AS job
            LIMIT turns.share
        ) AS line
        WHERE NOT EXISTS (
            SELECT FROM tj_controls WHERE kind = 'tenant' AND name = turns.tenant AND paused_at IS NOT NULL
        )
    )
"""
AROUND = text("""
    SELECT found.tenant FROM unnest(
        CAST(:after AS text[]), CAST(:behind AS bigint[]), CAST(:before AS text[])
    ) AS gaps (after, behind, before)
    CROSS JOIN LATERAL (
        SELECT tenant FROM tj_jobs
        WHERE state = 'ready' AND queue = :queue AND (tenant, priority) > (gaps.after, gaps.behind)
          AND tenant < gaps.before
        ORDER BY tenant, priority, id LIMIT 1
    ) AS found
    UNION ALL
    SELECT tenant FROM (
        SELECT tenant FROM tj_jobs WHERE state = 'ready' AND queue = :queue AND tenant > :last
        ORDER BY tenant, priority, id LIMIT 1
    ) AS found
""")


class MarkedExchange:
    """Settles and claims from marks, by statements that commit by themselves."""

    def __init__(self, marks: Marks, exchange: Prepared, around: Prepared) -> None:
        self.marks = marks
        self._exchange = exchange
        self._around = around

    @classmethod
    def on(cls, database: Database, marks: Marks, *, keep_finished: bool) -> MarkedExchange | None:
        """None where there are no such statements, or they would not commit by themselves."""
        if not database.dialect.set_based:
            return None
        exchange = database.prepared(settling_and_claiming(FROM_MARKS, taken(), done(keep_finished)))
        around = database.prepared(AROUND)
        return None if exchange is None or around is None else cls(marks, exchange, around)

    def __call__(
        self, process: str, finishes: Sequence[Finish], queue: str, wanted: int, rooms: Rooms
    ) -> tuple[list[Claimed], list[Finish]]:
        """The jobs that were claimed, and the settlements that were refused, or could not be seen to."""
        if self.marks.looks_around(queue):
            self._look_around(queue)
        claimed: list[Claimed] = []
        not_settled: list[Finish] = []
        settling = finishes
        for _ in range(MOST_PASSES):
            shares = self.marks.shares(queue, wanted - len(claimed), rooms)
            if not shares and not settling:
                break
            rows = self._exchange.rows(
                {"process": process, "queue": queue} | self.marks.lines(queue, shares) | ended(settling)
            )
            not_settled += refused(settling, rows[0][0])
            settling = ()
            found = claims_of([row[1:-2] for row in rows if row[1] is not None], process, queue)
            rooms.take(found)
            claimed += found
            if not self.marks.claimed(queue, shares, found) or len(claimed) >= wanted:
                break
        return claimed, not_settled

    def _look_around(self, queue: str) -> None:
        start = time.monotonic()
        gaps, last = self.marks.gaps(queue)
        rows = self._around.rows({"queue": queue, "last": "" if last is None else last} | gaps)
        self.marks.met(queue, [row[0] for row in rows], time.monotonic() - start)

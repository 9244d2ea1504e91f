"""The claim that goes on where the last one has ended, see ``Marks`` (PostgreSQL)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from tenantjobs_db.heads import CLASSES, claims_of, taken
from tenantjobs_db.marks import Marks
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.settlement import Claimed

MOST_PASSES = 4  # of one claim, as long as there are tenants who had all that was asked of them

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

# What executes a statement with these parameters.
Execute = Callable[[Mapping[str, Any]], Sequence[Any]]


class MarkedClaim:
    """Claims by some passes. ``take`` gives the rows of ``taken`` for one of them, ``around`` those of ``AROUND``."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    def on(self, connection: Connection, process: str, queue: str, wanted: int, rooms: Rooms) -> list[Claimed]:
        """By statements of a transaction."""
        return self(
            process,
            queue,
            wanted,
            rooms,
            take=lambda wish: connection.execute(_CLAIM, wish).all(),
            around=lambda wish: connection.execute(AROUND, wish).all(),
        )

    def __call__(
        self, process: str, queue: str, wanted: int, rooms: Rooms, *, take: Execute, around: Execute
    ) -> list[Claimed]:
        if self.marks.looks_around(queue):
            start = time.monotonic()
            rows = around({"queue": queue} | self.marks.gaps(queue))
            self.marks.met(queue, [row[0] for row in rows], time.monotonic() - start)
        claimed: list[Claimed] = []
        for _ in range(MOST_PASSES):
            shares = self.marks.shares(queue, wanted - len(claimed), rooms)
            rows = take({"process": process, "queue": queue} | self.marks.lines(queue, shares))
            found = claims_of(rows, process, queue)
            rooms.take(found)
            claimed += found
            if not self.marks.claimed(queue, shares, found) or len(claimed) >= wanted:
                break
        return claimed


_CLAIM = text(f"WITH {FROM_MARKS} {taken(CLASSES)}")

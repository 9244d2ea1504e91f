"""Which jobs a claim of PostgreSQL takes: the heads of the lines whose turn it is, as a part of its statement.

There are three ways to find them, which name the same jobs. What a part has that a claim does not want costs it
nevertheless: the server sets up each node of a plan at each execution, which was a quarter of the claim of one job. So
most claims are by ``NEXT`` or ``ROUND``, which take nothing while a tenant or a class of jobs is paused.

In each, the heads are locked, and so stay where they are: by their places they are found sooner than by their ids. The
array has them looked up one by one also under generic plans, where a join does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenantjobs_db.settlement import Claimed

# What is said of classes and tenants that one of them does not do: then it takes nothing.
CLASSES = "kind = 'job'"
CLASSES_AND_TENANTS = f"{CLASSES} OR kind = 'tenant' AND paused_at IS NOT NULL"
# The jobs of a paused class stand in line with the others until they are put aside, which takes ``Picking``. So those
# who know of the class go on without it as long as they meet none of its jobs.
CLASSES_MET = f"""
    {CLASSES} AND (
        name <> ALL (CAST(:paused AS text[]))
        OR EXISTS (SELECT FROM heads WHERE heads.name = ANY (CAST(:paused AS text[])))
    )
"""

# One job: in the order of the index, the first behind the tenant that was served last is the head of the next line.
NEXT = """
    heads AS (
        SELECT ctid FROM (
            SELECT ctid FROM (
                SELECT ctid FROM tj_jobs WHERE state = 'ready' AND queue = :queue AND tenant > :cursor
                ORDER BY tenant, priority, id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS ahead
            UNION ALL
            SELECT ctid FROM (
                SELECT ctid FROM tj_jobs WHERE state = 'ready' AND queue = :queue AND tenant <= :cursor
                ORDER BY tenant, priority, id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS around
        ) AS either LIMIT 1
    )
"""


def _lines(most: str) -> str:
    """The tenants in their turn, each with the head of its line, on both sides of the cursor: so many at ``most``."""
    return f"""
    ahead (tenant, head, priority, id, n) AS (
        (
            SELECT tenant, ctid, priority, id, 1 FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant > :cursor
            ORDER BY tenant, priority, id LIMIT 1
        )
        UNION ALL
        SELECT next.*, n + 1 FROM ahead CROSS JOIN LATERAL (
            SELECT tenant, ctid, priority, id FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant > ahead.tenant
            ORDER BY tenant, priority, id LIMIT 1
        ) AS next
        WHERE n < {most}
    ),
    around (tenant, head, priority, id, n) AS (
        (
            SELECT tenant, ctid, priority, id, 1 FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant <= :cursor
            ORDER BY tenant, priority, id LIMIT 1
        )
        UNION ALL
        SELECT next.*, n + 1 FROM around CROSS JOIN LATERAL (
            SELECT tenant, ctid, priority, id FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant > around.tenant AND tenant <= :cursor
            ORDER BY tenant, priority, id LIMIT 1
        ) AS next
        WHERE n < {most}
    ),
"""


# Where no tenant may have less than its share. With as many tenants as jobs are wanted, or more, whoever finds a tenant
# has found its job too, and goes down the index for it once: only if another one has locked it, the line is looked at.
# And that from its head on: what is in the way of the head, see ``Marks``, is passed once.
ROUND = f"""
    {_lines(":wanted")}
    found AS (
        SELECT tenant, head, priority, id, n AS turn FROM ahead
        UNION ALL
        SELECT tenant, head, priority, id, n + (SELECT count(*) FROM ahead) FROM around
        LIMIT :wanted
    ),
    dealt (each, others) AS (
        SELECT :wanted / count(*), :wanted % count(*) FROM found HAVING count(*) > 0
    ),
    turns AS (
        SELECT found.*, each + CASE WHEN turn <= others THEN 1 ELSE 0 END AS share FROM dealt CROSS JOIN found
    ),
    heads AS (
        SELECT line.ctid FROM turns CROSS JOIN LATERAL (
            SELECT ctid FROM (
                SELECT ctid FROM (
                    SELECT ctid FROM tj_jobs WHERE ctid = head AND state = 'ready' AND share = 1
                    FOR UPDATE SKIP LOCKED
                ) AS one
                UNION ALL
                SELECT ctid FROM (
                    SELECT ctid FROM tj_jobs WHERE state = 'ready' AND queue = :queue AND tenant = turns.tenant
                      AND (priority, id) >= (turns.priority, turns.id)
                    ORDER BY priority, id LIMIT share FOR UPDATE SKIP LOCKED
                ) AS several
            ) AS either LIMIT share
        ) AS line
    )
"""

# Any claim: tenants or classes are paused, or tenants have only so much room.
WITHIN_ROOMS = f"""
    paused (n) AS (
        SELECT count(*) FROM tj_controls WHERE kind = 'tenant' AND paused_at IS NOT NULL
    ),
    {_lines(":probes + (SELECT n FROM paused)")}
    found AS (
        SELECT * FROM (
            SELECT tenant, priority, id, 0 AS lap, n FROM ahead UNION ALL SELECT tenant, priority, id, 1, n FROM around
        ) AS lines
        WHERE tenant <> ALL (CAST(:full AS text[])) AND NOT EXISTS (
            SELECT FROM tj_controls WHERE kind = 'tenant' AND name = lines.tenant AND paused_at IS NOT NULL
        )
        LIMIT :wanted
    ),
    turns AS (
        SELECT found.*, row_number() OVER (ORDER BY lap, n) AS turn, count(*) OVER () AS tenants,
            coalesce(room, :most) AS room
        FROM found LEFT JOIN unnest(CAST(:busy AS text[]), CAST(:rooms AS int[])) AS busy (tenant, room)
            ON busy.tenant = found.tenant
    ),
    heads AS (
        SELECT head.ctid, head.name FROM turns CROSS JOIN LATERAL (
            SELECT ctid, name FROM tj_jobs
            WHERE state = 'ready' AND queue = :queue AND tenant = turns.tenant
              AND (priority, id) >= (turns.priority, turns.id)
            ORDER BY priority, id
            LIMIT least(room, :wanted / tenants + CASE WHEN turn <= :wanted % tenants THEN 1 ELSE 0 END)
            FOR UPDATE SKIP LOCKED
        ) AS head
    )
"""


def taken(unless: str) -> str:
    """The statement that claims ``heads``; nothing if something is said that takes ``Picking``, or ``unless`` is so."""
    return f"""
        UPDATE tj_jobs
        SET state = 'claimed', claimed_by = :process, claimed_at = statement_timestamp(), fence = fence + 1
        WHERE ctid = ANY (ARRAY (SELECT ctid FROM heads))
          AND EXISTS (SELECT FROM tj_processes WHERE tj_processes.id = :process)
          AND NOT EXISTS (
              SELECT FROM tj_controls
              WHERE weight IS NOT NULL OR cap IS NOT NULL OR rate IS NOT NULL
                  OR kind = 'queue' AND name = :queue OR {unless}
          )
        RETURNING priority, id, fence, name, tenant, attempt, data, deaths
    """


def claims_of(rows: Sequence[Any], process: str, queue: str) -> list[Claimed]:
    """The rows of ``taken``, in the order in which they are to start."""
    return [
        Claimed(id, fence, process, queue, name, tenant, attempt, data, deaths, None, priority)
        for priority, id, fence, name, tenant, attempt, data, deaths in sorted(rows)  # no two have one id
    ]

"""The exchange as one statement: finished jobs are settled and others claimed in one round trip (PostgreSQL).

Most exchanges are of this kind. Of four round trips one is left, and after each of them the worker's thread has to wait
for its turn between the threads of its jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import TextClause, text

from tenantjobs_db.arrays import literal
from tenantjobs_db.claiming import HEADS, TAKE, claims_of, wished
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.settlement import Claimed, Finish

# Row by row, as OFFSET has it, and then by an array of places that the planner cannot see into: left to itself it would
# read a table that is not large, and under a generic plan compare each job with each. A row that somebody writes
# meanwhile is at another place then: it is refused, and asked for once more by its id.
OURS = """
    SELECT found.ctid FROM unnest(CAST(:ids AS text[]), CAST(:fences AS bigint[])) AS ended (id, fence)
    CROSS JOIN LATERAL (
        SELECT ctid FROM tj_jobs WHERE id = ended.id AND fence = ended.fence AND claimed_by = :process OFFSET 0
    ) AS found
"""
WHICH = "ctid = ANY (ARRAY (SELECT ctid FROM ours)) AND claimed_by = :process"
KEEP = f"""
    UPDATE tj_jobs
    SET state = 'finished', claimed_by = NULL, attempt = attempt + 1, reason = NULL,
        finished_at = statement_timestamp()
    WHERE {WHICH} RETURNING id
"""
FORGET = f"DELETE FROM tj_jobs WHERE {WHICH} RETURNING id"


class SetBasedExchange:
    """Settles and claims by a ``statement`` that commits by itself, see ``settling_and_claiming``."""

    def __init__(self, statement: Prepared) -> None:
        self._statement = statement

    def __call__(
        self,
        process: str,
        finishes: Sequence[Finish],
        queue: str,
        cursor: str,
        wanted: int,
        rooms: Rooms,
    ) -> tuple[list[Claimed], list[Finish]]:
        """The jobs that were claimed, and the settlements that were refused, or could not be seen to."""
        wish = wished(process, queue, cursor, wanted, rooms) | _ended(finishes)
        rows = self._statement.rows(wish)
        found = [row[1:] for row in rows if row[1] is not None]
        return claims_of(found, process, queue), _refused(finishes, rows[0][0])


def settling_and_claiming(*, keep_finished: bool) -> TextClause:
    """The statement. Both halves see the table as it was before: neither meets what the other one writes."""
    return text(f"""
        WITH RECURSIVE
        ours AS ({OURS}),
        done AS ({KEEP if keep_finished else FORGET}),
        {HEADS},
        taken AS ({TAKE}),
        told (ids) AS (SELECT CASE WHEN count(*) < :finishes THEN array_agg(id) END FROM done)
        SELECT told.ids, taken.* FROM told LEFT JOIN taken ON true
    """)


def _refused(finishes: Sequence[Finish], done: Sequence[str | None] | None) -> list[Finish]:
    """Those of ``finishes`` that are not among the ``done``, who are only named where there are fewer."""
    if done is None:
        return []
    settled = set(done)
    return [finish for finish in finishes if finish.claim.id not in settled]


def _ended(finishes: Sequence[Finish]) -> dict[str, object]:
    return {
        "ids": literal([finish.claim.id for finish in finishes]),
        "fences": literal([finish.claim.fence for finish in finishes]),
        "finishes": len(finishes),
    }

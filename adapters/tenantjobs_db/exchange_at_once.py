"""The exchange as one statement: finished jobs are settled and others claimed in one round trip (PostgreSQL).

Most exchanges are of this kind. Of four round trips one is left, and after each of them the worker's thread has to wait
for its turn between the threads of its jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import TextClause, text

from tenantjobs_db.arrays import NONE, literal
from tenantjobs_db.claiming import wished
from tenantjobs_db.database import Database
from tenantjobs_db.entries_read import ENTRIES_READ
from tenantjobs_db.heads import CLASSES_AND_TENANTS, CLASSES_MET, NEXT, ROUND, WITHIN_ROOMS, claims_of, taken
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
WHICH_ONE = """
    id = (CAST(:ids AS text[]))[1] AND fence = (CAST(:fences AS bigint[]))[1] AND claimed_by = :process
"""
KEEP = """
    UPDATE tj_jobs
    SET state = 'finished', claimed_by = NULL, attempt = attempt + 1, reason = NULL,
        finished_at = statement_timestamp()
    WHERE {} RETURNING id
"""
FORGET = "DELETE FROM tj_jobs WHERE {} RETURNING id"


class SetBasedExchange:
    """Settles and claims by one of three statements that commit by themselves: see ``heads``."""

    def __init__(self, next_one: Prepared, round_: Prepared, within_rooms: Prepared) -> None:
        self._next_one = next_one
        self._round = round_
        self._within_rooms = within_rooms

    @classmethod
    def on(cls, database: Database, *, keep_finished: bool) -> SetBasedExchange | None:
        """None where there is no such statement, or it would not commit by itself."""
        if not database.dialect.set_based:
            return None
        one = database.prepared(settling_and_claiming(NEXT, taken(CLASSES_AND_TENANTS), done_one(keep_finished)))
        some = database.prepared(settling_and_claiming(ROUND, taken(CLASSES_AND_TENANTS), done(keep_finished)))
        any_ = database.prepared(settling_and_claiming(WITHIN_ROOMS, taken(CLASSES_MET), done(keep_finished)))
        return None if one is None or some is None or any_ is None else cls(one, some, any_)

    def __call__(
        self,
        process: str,
        finishes: Sequence[Finish],
        queue: str,
        cursor: str,
        wanted: int,
        rooms: Rooms,
        *,
        skips: bool = False,
        paused: str = NONE,
    ) -> tuple[list[Claimed], list[Finish], int]:
        """The jobs that were claimed, and the settlements that were refused, or could not be seen to.

        And how many entries of the index of lines it took. ``skips``: some tenant is paused; ``paused``: these classes.
        """
        if skips or paused != NONE or rooms.are_less_than(wanted):
            statement = self._within_rooms
        else:
            statement = self._next_one if wanted == 1 and len(finishes) <= 1 else self._round
        rows = statement.rows(wished(process, queue, cursor, wanted, rooms, paused) | ended(finishes))
        found = [row[1:-1] for row in rows if row[1] is not None]
        return claims_of(found, process, queue), refused(finishes, rows[0][0]), rows[0][-1]


def settling_and_claiming(heads: str, taken: str, done: str) -> TextClause:
    """The statement. Both halves see the table as it was before: neither meets what the other one writes.

    Its last column is the number of entries of the index of lines that it has read: ``told`` counts before ``taken``
    has begun, as what stands to the left of a join is asked first.
    """
    return text(f"""
        WITH RECURSIVE
        {done},
        {heads},
        taken AS ({taken}),
        told (ids, entries) AS (
            SELECT CASE WHEN count(*) < :finishes THEN array_agg(id) END, {ENTRIES_READ} FROM done
        )
        SELECT told.ids, taken.*, {ENTRIES_READ} - told.entries
        FROM told LEFT JOIN taken ON true
    """)


def done(keep_finished: bool) -> str:
    """The half that settles any number of jobs."""
    return f"ours AS ({OURS}), done AS ({(KEEP if keep_finished else FORGET).format(WHICH)})"


def done_one(keep_finished: bool) -> str:
    """The same for one job at most."""
    return f"done AS ({(KEEP if keep_finished else FORGET).format(WHICH_ONE)})"


def refused(finishes: Sequence[Finish], done: Sequence[str | None] | None) -> list[Finish]:
    """Those of ``finishes`` that are not among the ``done``, who are only named where there are fewer."""
    if done is None:
        return []
    settled = set(done)
    return [finish for finish in finishes if finish.claim.id not in settled]


def ended(finishes: Sequence[Finish]) -> dict[str, object]:
    """The parameters of the half that settles."""
    return {
        "ids": literal([finish.claim.id for finish in finishes]),
        "fences": literal([finish.claim.fence for finish in finishes]),
        "finishes": len(finishes),
    }

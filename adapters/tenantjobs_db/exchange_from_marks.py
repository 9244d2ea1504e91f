"""The exchange that goes on where the last one has ended, see ``Marks`` (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tenantjobs_db.database import Database
from tenantjobs_db.exchange_at_once import done, ended, refused, settling_and_claiming
from tenantjobs_db.from_marks import AROUND, FROM_MARKS, MarkedClaim
from tenantjobs_db.heads import CLASSES, taken
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.settlement import Claimed, Finish


class MarkedExchange:
    """Settles and claims from marks, by statements that commit by themselves."""

    def __init__(self, claim: MarkedClaim, exchange: Prepared, around: Prepared) -> None:
        self._claim = claim
        self._exchange = exchange
        self._around = around

    @classmethod
    def on(cls, database: Database, claim: MarkedClaim, *, keep_finished: bool) -> MarkedExchange | None:
        """None where there are no such statements, or they would not commit by themselves."""
        if not database.dialect.set_based:
            return None
        exchange = database.prepared(settling_and_claiming(FROM_MARKS, taken(CLASSES), done(keep_finished)))
        around = database.prepared(AROUND)
        return None if exchange is None or around is None else cls(claim, exchange, around)

    def __call__(
        self, process: str, finishes: Sequence[Finish], queue: str, wanted: int, rooms: Rooms
    ) -> tuple[list[Claimed], list[Finish]]:
        """The jobs that were claimed, and the settlements that were refused, or could not be seen to."""
        not_settled: list[Finish] = []
        settling = finishes

        def take(wish: Mapping[str, Any]) -> Sequence[Any]:
            nonlocal settling
            rows = self._exchange.rows({**wish, **ended(settling)})
            not_settled.extend(refused(settling, rows[0][0]))
            settling = ()  # by the first pass
            return [row[1:-1] for row in rows if row[1] is not None]

        return self._claim(process, queue, wanted, rooms, take=take, around=self._around.rows), not_settled

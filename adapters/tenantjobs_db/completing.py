"""Finishing a job by the commit of its own session, where that is in the database of the queue."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from tenantjobs.errors import LeaseLost
from tenantjobs_db.settlement import Finish
from tenantjobs_db.settling import Settling


class Completing:
    """Writes completions in transactions that belong to jobs; ``joins`` says which of them reach the queue."""

    def __init__(self, settling: Settling, joins: Callable[[object], bool]) -> None:
        self.joins = joins
        self._settling = settling

    def complete(self, connection: object, finish: Finish) -> None:
        """Finish the job with the transaction of ``connection``; LeaseLost if it is another worker's by now."""
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        if not self._settling.finish_within(connection, finish):
            raise LeaseLost(f"{finish.claim} belongs to another worker by now")

"""Who works on the queue, for people to look at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select

from tenantjobs.view import ProcessView
from tenantjobs_db.assignment import supervisor_of
from tenantjobs_db.database import Database
from tenantjobs_db.tables import CLAIMED, in_state, jobs, processes, serving


class Attendance:
    """Reads, and changes nothing. ``lease``: how far ahead a heartbeat puts the end of the lease, in seconds."""

    def __init__(self, database: Database, *, lease: float) -> None:
        self._database = database
        self._lease = lease
        running = (
            select(func.count()).where(in_state(CLAIMED), jobs.c.claimed_by == processes.c.id).correlate(processes)
        )
        self._all = (
            select(
                processes,
                serving.c.slots,
                serving.c.queues,
                running.scalar_subquery().label("running"),
                database.dialect.now().label("now"),
            )
            .outerjoin(serving, serving.c.process == processes.c.id)
            .order_by(processes.c.id)
        )

    def processes(self) -> list[ProcessView]:
        """All that have not signed off: each supervisor with its own below it."""
        with self._database.autocommit() as connection:
            return [_view(row, self._lease) for row in connection.execute(self._all)]


def _view(row: Any, lease: float) -> ProcessView:
    return ProcessView(
        id=row.id,
        kind=row.kind,
        host=row.host,
        pid=row.pid,
        supervisor=supervisor_of(row.id),
        started_at=row.started_at,
        heartbeat_age=_age(row.expires_at, lease, row.now),
        alive=row.expires_at >= row.now,
        threads=row.slots,
        queues=() if row.queues is None else msgspec.json.decode(row.queues, type=tuple[str, ...]),
        running=row.running,
    )


def _age(expires_at: datetime, lease: float, now: datetime) -> float:
    return round(max(0.0, (now - expires_at).total_seconds() + lease), 3)

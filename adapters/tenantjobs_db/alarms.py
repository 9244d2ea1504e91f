"""Which alarm a worker has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenantjobs_db.alarm import Alarm
from tenantjobs_db.database import Database
from tenantjobs_db.listening import Listening
from tenantjobs_db.watching import Watching


def alarm_of(database: Database, queues: Sequence[str], ring: Callable[[], object]) -> Alarm:
    """That of the kind of database: on MySQL there is none, and in memory nobody else can enqueue."""
    if database.dialect.notifies:
        return Listening(database, queues, ring)
    if database.dialect.name == "sqlite" and not database.in_memory:
        return Watching(database, ring)
    return Alarm()

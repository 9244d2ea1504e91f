"""Which alarm a worker has, or a gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tenantjobs_db.alarm import Alarm
from tenantjobs_db.database import Database
from tenantjobs_db.listening import Line, Listening, Unheard
from tenantjobs_db.watching import Watching

PATIENCE = 5.0  # seconds for it to end


def alarm_of(database: Database, queues: Sequence[str], ring: Callable[[], object]) -> Alarm:
    """That of the kind of database: on MySQL there is none, and in memory nobody else can enqueue."""
    if database.dialect.notifies:
        return Listening(database, queues, ring)
    if database.dialect.name == "sqlite" and not database.in_memory:
        return Watching(database, ring)
    return Alarm()


@contextmanager
def keeping_watch(alarm: Alarm) -> Iterator[None]:
    """A block in which it rings."""
    alarm.start()
    try:
        yield
    finally:
        alarm.stop()
        alarm.join(PATIENCE)


def unheard(database: Database) -> str | None:
    """Why nobody is woken although this database could call; None where that works, or is not wanted."""
    if not database.dialect.notifies:
        return None
    try:
        Line(database, ["*"]).close()
    except Unheard as why:
        return str(why)
    return None

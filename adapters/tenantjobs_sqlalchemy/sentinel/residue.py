"""What a job leaves behind on connections: one that it did not give back, and settings that outlive its transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Engine, Pool, event

from tenantjobs import sentinel
from tenantjobs_sqlalchemy.rls.policies import SYSTEM, TENANT

# Settings that an application makes for itself are not listed by PostgreSQL, and have to be asked for by name.
SETTINGS = [TENANT, SYSTEM]

_ATTEMPT = "tenantjobs_attempt"
_STATE = "tenantjobs_state"
# What is said of one transaction ends with it, though it is listed here until the next one begins.
_ASK = """
    SELECT 'role=' || current_user
    UNION ALL SELECT name || '=' || setting FROM pg_settings
    WHERE source = 'session'
      AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
"""


class Attempt:
    """The connections that one attempt has taken and not given back, each with where it took it.

    ``changed`` has the settings that others were given back with. Told at the end: a pool must not be interrupted.
    """

    def __init__(self) -> None:
        self.open: dict[int, str | None] = {}
        self.changed: list[tuple[str, str | None]] = []


def listen() -> None:
    event.listen(Pool, "checkout", _taken)
    event.listen(Pool, "checkin", _given_back)
    event.listen(Engine, "engine_connect", _connected)


@contextmanager
def gathered() -> Iterator[None]:
    """Around an attempt; what is still open at its end is told."""
    attempt = Attempt()
    token = _attempt.set(attempt)
    try:
        yield
        for settings, place in attempt.changed:
            what = f"has given a connection back with {settings}, for whoever is next"
            sentinel.found("connection state", what, place=place or "")
        for place in list(attempt.open.values()):
            sentinel.found(
                "open transaction", "has ended, and the connection that it took is still open", place=place or ""
            )
    finally:
        _attempt.reset(token)


def _taken(_dbapi: object, record: Any, _proxy: object) -> None:
    attempt = _attempt.get()
    if attempt is not None and sentinel.watching() is not None:
        record.info[_ATTEMPT] = attempt
        attempt.open[id(record)] = sentinel.place_in_application()


def _connected(connection: Connection) -> None:
    if connection.dialect.name == "postgresql" and _ATTEMPT in connection.info and _STATE not in connection.info:
        connection.info[_STATE] = _state(connection.connection.dbapi_connection)


def _given_back(dbapi: Any, record: Any) -> None:
    attempt = record.info.pop(_ATTEMPT, None)
    before = record.info.pop(_STATE, None)
    if attempt is None:
        return
    attempt.open.pop(id(record), None)
    if before is not None and dbapi is not None:
        changed = _state(dbapi) - before
        if changed:
            attempt.changed.append((", ".join(sorted(changed)), sentinel.place_in_application()))


def _state(dbapi: Any) -> frozenset[str]:
    """Role and settings of a connection's session; nothing where they cannot be asked for now."""
    with suppress(Exception):  # a connection that is broken, or closed by the garbage collector outside of any loop
        cursor = dbapi.cursor()
        try:
            cursor.execute(_ASK)
            found = {str(row[0]) for row in cursor.fetchall()}
            for name in SETTINGS:
                cursor.execute(f"SELECT current_setting('{name}', true)")
                value = cursor.fetchone()[0]
                if value:
                    found.add(f"{name}={value}")
        finally:
            cursor.close()
            dbapi.rollback()
        return frozenset(found)
    return frozenset()


_attempt: ContextVar[Attempt | None] = ContextVar("tenantjobs_connections", default=None)

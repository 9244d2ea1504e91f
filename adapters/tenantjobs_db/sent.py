"""A statement that is sent to PostgreSQL as it is, by psycopg's own functions below its cursors.

A cursor finds out at each execution what this statement is, which types its parameters have, and whether it was
prepared: half of the time that it took to hand over one job.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from datetime import datetime
from importlib import import_module
from itertools import count
from typing import Any

from sqlalchemy import ClauseElement, Engine

from tenantjobs_db.prepared import Prepared, given_among

_numbers = count(1)
_PLACE = re.compile(r"%\((\w+)\)s")


def sends(engine: Engine) -> bool:
    """Whether its driver can."""
    return engine.dialect.driver == "psycopg"


class Sent(Prepared):
    """A statement that writes, with a cast of each parameter: that is what says its type to the server.

    What does not go well is left to a cursor, which says what is wrong.
    """

    def __init__(self, engine: Engine, statement: ClauseElement) -> None:
        super().__init__(engine, statement)
        given = {each.name: each for each in self._given}
        names = list(dict.fromkeys(_PLACE.findall(self._text)))
        self._in_order = [given[name] for name in names]
        numbered = _PLACE.sub(lambda place: f"${names.index(place[1]) + 1}", self._text)
        self._name = f"tenantjobs_{next(_numbers)}".encode()
        self._numbered = numbered.replace("%%", "%").encode()
        self._fetch: Any = import_module("psycopg.generators").execute
        status = import_module("psycopg.pq").ExecStatus
        self._lost: Any = import_module("psycopg").OperationalError
        self._well = (status.COMMAND_OK, status.TUPLES_OK)

    def execute(self, values: Mapping[str, Any]) -> int:
        parameters = [_written(value) for value in given_among(values, self._in_order)]
        # A text would end at a zero on this way; on the other one it is refused.
        is_whole = not any(value is not None and b"\0" in value for value in parameters)
        count = self._on_connection(lambda connection: self._sent(connection, parameters)) if is_whole else None
        return super().execute(values) if count is None else count

    def _sent(self, connection: Any, parameters: list[bytes | None]) -> int | None:
        """How many rows it has written; None if it did not go well, and nothing was written."""
        driver = connection.driver_connection
        if driver.prepare_threshold is None:  # whatever is between us and the server does not keep statements
            return None
        kept: set[bytes] = connection.info.setdefault("tenantjobs_statements", set())
        if self._name not in kept:
            if not self._went_well(driver, driver.wait(self._prepare(driver.pgconn))):
                return None
            kept.add(self._name)
        result = driver.wait(self._execute(driver.pgconn, parameters))
        if not self._went_well(driver, result):
            kept.discard(self._name)  # it may be that which was lost
            return None
        count: int = result.command_tuples
        return count

    def _went_well(self, driver: Any, result: Any) -> bool:
        if driver.closed:
            raise self._lost("the server has ended the connection")
        went_well: bool = result.status in self._well
        return went_well

    def _prepare(self, wire: Any) -> Generator[Any, Any, Any]:
        wire.send_prepare(self._name, self._numbered)
        return (yield from self._fetch(wire))[0]

    def _execute(self, wire: Any, parameters: list[bytes | None]) -> Generator[Any, Any, Any]:
        wire.send_query_prepared(self._name, parameters)
        return (yield from self._fetch(wire))[0]


def _written(value: str | int | datetime | None) -> bytes | None:
    """As the server reads it."""
    if value is None:
        return None
    elif isinstance(value, str):
        return value.encode()
    else:
        return (value.isoformat() if isinstance(value, datetime) else str(value)).encode()

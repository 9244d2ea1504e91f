"""How much waits in each queue, or for each tenant. It counts rows: something for people, not for each claim."""

from __future__ import annotations

from typing import Any, Literal, cast

from sqlalchemy import Connection, Executable, Select, bindparam, func, select

from tenantjobs.controls import Line
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.tables import BLOCKED, CLAIMED, FAILED, READY, SCHEDULED, jobs

COUNTED = {READY: "ready", SCHEDULED: "scheduled", BLOCKED: "blocked", CLAIMED: "running", FAILED: "failed"}


def lines_by(kind: Literal["queue", "tenant"], dialect: Dialect) -> Select[Any]:
    """A row for each name and state."""
    name = jobs.c[kind].label("line")
    first = func.min(func.coalesce(jobs.c.due_at, jobs.c.enqueued_at), type_=jobs.c.enqueued_at.type).label("first")
    counted: Any = (
        select(name, jobs.c.state, func.count().label("jobs"), first, dialect.now().label("now"))
        .where(jobs.c.state.in_(COUNTED))
        .group_by(name, jobs.c.state)
        .order_by(name)
    )
    return cast(Select[Any], counted)


def line_of(kind: Literal["queue", "tenant"], dialect: Dialect) -> Select[Any]:
    """The same for the one called ``of_name``."""
    return lines_by(kind, dialect).where(jobs.c[kind] == bindparam("of_name"))


def read_lines(connection: Connection, statement: Executable, **which: str) -> list[Line]:
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(statement, which):
        line = found.setdefault(row.line, {})
        line[COUNTED[row.state]] = row.jobs
        if row.state == READY:
            line["lag"] = max(0.0, (row.now - row.first).total_seconds())
    return [Line(name=name, **values) for name, values in found.items()]

"""Which part of the jobs that started lately were a tenant's, and which part it is entitled to.

It looks at what runs and at what has ended since, by their indexes: its cost is that of the window, not of the backlog.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from sqlalchemy import Connection, Select, func, select, union_all

from tenantjobs.controls import Control, Line, Share
from tenantjobs_db.dialect import Dialect, seconds
from tenantjobs_db.tables import CLAIMED, DISCARDED, FAILED, FINISHED, QUARANTINED, in_state, jobs


def starts_by_tenant(dialect: Dialect) -> Select[Any]:
    """How many jobs of each tenant have started since ``-age`` seconds ago, and run or have come to their end."""
    since = dialect.after(seconds("age"))
    lately = jobs.c.claimed_at > since
    found = union_all(
        select(jobs.c.tenant).where(in_state(CLAIMED), lately),
        select(jobs.c.tenant).where(in_state(FINISHED, DISCARDED), jobs.c.finished_at > since, lately),
        select(jobs.c.tenant).where(in_state(FAILED, QUARANTINED), jobs.c.finished_at > since, lately),
    ).subquery()
    counted: Any = select(found.c.tenant, func.count().label("jobs")).group_by(found.c.tenant)
    return cast(Select[Any], counted)


def read_starts(connection: Connection, statement: Select[Any], window: float) -> dict[str, int]:
    return {row.tenant: row.jobs for row in connection.execute(statement, {"age": -window})}


def shares(starts: Mapping[str, int], lines: Iterable[Line], controls: Iterable[Control]) -> list[Share]:
    """Of each tenant that has started some, or has some that could start.

    Those that could start are entitled to parts by their weights. A paused tenant is entitled to nothing.
    """
    said = {control.name: control for control in controls if control.kind == "tenant"}
    ready = {line.name for line in lines if line.ready}
    competing = {name: _weight(said.get(name)) for name in {*starts, *ready}}
    all_starts, all_weights = sum(starts.values()), sum(competing.values())
    return [
        Share(
            name=name,
            started=starts.get(name, 0),
            share=starts.get(name, 0) / all_starts if all_starts else 0.0,
            entitled=competing[name] / all_weights if all_weights else 0.0,
        )
        for name in sorted({*starts, *ready})
    ]


def _weight(control: Control | None) -> float:
    if control is None:
        return 1.0
    return 0.0 if control.paused else control.weight or 1.0

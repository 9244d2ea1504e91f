"""How many jobs there are, and what became of the latest. It counts rows: something for people, not for each claim."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from tenantjobs.controls import Line
from tenantjobs.upkeep import JobStats
from tenantjobs.view import OVER, JobFilter
from tenantjobs_db.choosing import chosen
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.lines import COUNTED
from tenantjobs_db.states import said
from tenantjobs_db.tables import CLAIMED, READY, jobs

DIMENSIONS = ("queue", "tenant", "name")


class Counting:
    """Reads, and changes nothing."""

    def __init__(self, dialect: Dialect) -> None:
        self._now = select(dialect.now())

    def count(self, connection: Connection, which: JobFilter) -> int:
        """How many there are."""
        return connection.execute(select(func.count()).select_from(jobs).where(chosen(which))).scalar_one()

    def stats(self, connection: Connection, which: JobFilter, window: float) -> JobStats:
        """One look at all of them, by whatever people ask for."""
        now = connection.execute(self._now).scalar_one()
        since = now - timedelta(seconds=window)
        statement = (
            select(
                *(jobs.c[name] for name in DIMENSIONS),
                jobs.c.state,
                func.count().label("jobs"),
                func.min(_began(), type_=jobs.c.due_at.type).label("first"),
                _how_many(jobs.c.finished_at >= since).label("ended"),
                _how_many(jobs.c.enqueued_at >= since).label("enqueued"),
            )
            .where(chosen(which))
            .group_by(*(jobs.c[name] for name in DIMENSIONS), jobs.c.state)
        )
        states: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        enqueued = 0
        first: dict[str, datetime] = {}
        lines: Mapping[str, defaultdict[str, dict[str, Any]]] = {name: defaultdict(dict) for name in DIMENSIONS}
        for row in connection.execute(statement):
            states[said(row.state)] += row.jobs
            enqueued += row.enqueued
            if row.state in OVER:
                ended[row.state] += row.ended
            if row.first is not None:
                first[said(row.state)] = min(row.first, first.get(said(row.state), row.first))
            if row.state in COUNTED:
                for name in DIMENSIONS:
                    _add(lines[name][getattr(row, name)], row, now)
        return JobStats(
            at=now,
            window=window,
            states=dict(states),
            queues=_lines(lines["queue"]),
            tenants=_lines(lines["tenant"]),
            jobs=_lines(lines["name"]),
            oldest={state: _age(now, moment) for state, moment in first.items()},
            enqueued=enqueued,
            ended={state: count for state, count in ended.items() if count},
        )


def _began() -> ColumnElement[datetime]:
    """Since when a job is in its state, as far as it is known."""
    return case(
        (jobs.c.state == READY, func.coalesce(jobs.c.due_at, jobs.c.enqueued_at)),
        (jobs.c.state == CLAIMED, jobs.c.claimed_at),
        (jobs.c.state.in_(OVER), jobs.c.finished_at),
        else_=jobs.c.enqueued_at,
    )


def _how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _add(line: dict[str, Any], row: Any, now: datetime) -> None:
    counted = COUNTED[row.state]
    line[counted] = line.get(counted, 0) + row.jobs
    if row.state == READY:
        line["lag"] = max(_age(now, row.first), line.get("lag", 0.0))


def _lines(found: Mapping[str, Mapping[str, Any]]) -> tuple[Line, ...]:
    return tuple(Line(name=name, **found[name]) for name in sorted(found))


def _age(now: datetime, moment: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())

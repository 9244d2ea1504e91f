"""Why a job waits: whatever keeps it from being claimed, and what is before it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, bindparam, func, or_, select

from tenantjobs.errors import ConfigurationError
from tenantjobs.view import Explanation, Reason
from tenantjobs_db import schema
from tenantjobs_db.admitting import BROKER
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.instructions import Instructions, paused_name
from tenantjobs_db.job_row import JobRow, read_job
from tenantjobs_db.pacing import rate_of
from tenantjobs_db.rates import tenant_key
from tenantjobs_db.selection import Selection
from tenantjobs_db.states import said
from tenantjobs_db.tables import (
    BLOCKED,
    CLAIMED,
    READY,
    SCHEDULED,
    blocked,
    controls,
    in_state,
    jobs,
    permits,
    processes,
    rates,
    serving,
    starts,
)

MOST_NAMED = 3  # jobs that are named
MOST_COUNTED = 10_000  # jobs of a line, so that a look at a long one is short
IDLE_KINDS = ("supervisor", "dispatcher", "scheduler", "gate")  # processes that perform no jobs


class Explaining:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        now = database.dialect.now()
        self._database = database
        self._blocked = select(blocked.c.key, blocked.c.permits, blocked.c.priority).where(
            blocked.c.job_id == bindparam("job_id")
        )
        self._holders = (
            select(permits.c.owner)
            .where(permits.c.key == bindparam("of_key"), permits.c.expires_at >= now)
            .order_by(permits.c.number)
        )
        self._broker_of = select(processes.c.host).where(
            processes.c.id == bindparam("process"), processes.c.kind == BROKER
        )
        self._before = select(func.count()).where(blocked.c.key == bindparam("of_key"), _before(blocked, "job_id"))
        self._rule = select(rates.c.allowed, rates.c.seconds).where(rates.c.key == bindparam("of_key"))
        self._starts = select(func.count()).where(
            starts.c.key == bindparam("of_key"), starts.c.started_at > database.dialect.after(seconds("since"))
        )
        self._control = select(controls).where(
            controls.c.kind == bindparam("of_kind"), controls.c.name == bindparam("of_name")
        )
        line = (
            select(jobs.c.id)
            .where(
                in_state(READY),
                jobs.c.queue == bindparam("of_queue"),
                jobs.c.tenant == bindparam("of_tenant"),
                _before(jobs, "id"),
            )
            .limit(MOST_COUNTED)
        )
        self._ahead = select(func.count()).select_from(line.subquery())
        self._running = (
            select(jobs.c.id).where(in_state(CLAIMED), jobs.c.tenant == bindparam("of_tenant")).order_by(jobs.c.id)
        )
        self._workers = (
            select(serving.c.queues)
            .select_from(processes.outerjoin(serving, serving.c.process == processes.c.id))
            .where(processes.c.expires_at >= now, processes.c.kind.not_in(IDLE_KINDS))
        )

    def explain(self, job_id: str) -> Explanation | None:
        """Why the job of this id waits; None if there is none, or none any more."""
        with self._database.autocommit() as connection:  # a look keeps nobody from writing
            problem = schema.status(connection).problem
            if problem is not None:
                raise ConfigurationError(problem)
            row = read_job(connection, job_id)
            if row is None:
                return None
            return Explanation(
                id=row.id,
                state=said(row.state),
                tenant_id=row.tenant or None,
                queue=row.queue,
                reasons=tuple(self.reasons(connection, row)),
            )

    def reasons(self, connection: Connection, row: JobRow) -> list[Reason]:
        """What keeps it from running."""
        if row.state == CLAIMED:
            return self._broker(connection, row)
        if row.state not in (SCHEDULED, READY, BLOCKED):
            return []
        found = self._pauses(connection, row)
        if row.state == SCHEDULED:
            return [*found, Reason(kind="due", text="its time", until=row.due_at)]
        if row.state == BLOCKED:
            held = connection.execute(self._blocked, {"job_id": row.id}).first()
            if held is not None and rate_of(held.key) is not None:
                found.append(self._rate(connection, row, held))
            elif held is None or paused_name(held.key) is None:
                found.append(self._permit(connection, row, held))
            resumed = f"job {row.name}, which was resumed: a worker lets it out"
            return found or [Reason(kind="paused", text=resumed, of=row.name)]
        found += self._cap(connection, row)
        found += self._tenant_rate(connection, row)
        return [*found, self._turn(connection, row)]

    def _broker(self, connection: Connection, row: JobRow) -> list[Reason]:
        """Let through by a gate, and not started yet."""
        broker = connection.execute(self._broker_of, {"process": row.claimed_by}).scalar()
        if broker is None:
            return []
        since = f"{row.claimed_at:%Y-%m-%d %H:%M:%S} UTC"
        return [Reason(kind="broker", text=f"a worker of {broker}, which has had it since {since}", of=broker)]

    def _pauses(self, connection: Connection, row: JobRow) -> list[Reason]:
        paused_class = Instructions.read(connection).jobs.get(row.name)
        found = []
        for kind, name in (("queue", row.queue), ("tenant", row.tenant), ("job", paused_class)):
            said = connection.execute(self._control, {"of_kind": kind, "of_name": name}).first() if name else None
            if said is not None and said.paused_at is not None:
                why = "" if said.reason is None else f" ({said.reason})"
                since = f"{said.paused_at:%Y-%m-%d %H:%M:%S} UTC"
                found.append(Reason(kind="paused", text=f"{kind} {name}, paused since {since}{why}", of=name))
        return found

    def _permit(self, connection: Connection, row: JobRow, held: Any) -> Reason:
        if held is None:
            return Reason(kind="permit", text="a permit")
        holders = tuple(connection.execute(self._holders, {"of_key": held.key}).scalars())
        wish = {"of_key": held.key, "of_priority": held.priority, "of_job": row.id}
        before = connection.execute(self._before, wish).scalar_one()
        taken = f"{len(holders)} of {held.permits} taken" + (f" by {_named(holders)}" if holders else "")
        text = f"a permit of the limit {held.key}: {taken}, {before or 'none'} before it"
        return Reason(kind="permit", text=text, of=held.key, by=holders, ahead=before)

    def _rate(self, connection: Connection, row: JobRow, held: Any) -> Reason:
        key = rate_of(held.key)
        wish = {"of_key": held.key, "of_priority": held.priority, "of_job": row.id}
        before = connection.execute(self._before, wish).scalar_one()
        rule = connection.execute(self._rule, {"of_key": key}).first()
        said = "" if rule is None else f" of {rule.allowed} in {rule.seconds:g} s"
        return Reason(kind="rate", text=f"the rate {key}{said}: {before or 'none'} before it", of=key, ahead=before)

    def _cap(self, connection: Connection, row: JobRow) -> list[Reason]:
        said = connection.execute(self._control, {"of_kind": "tenant", "of_name": row.tenant}).first()
        if said is None or said.cap is None:
            return []
        running = tuple(connection.execute(self._running, {"of_tenant": row.tenant}).scalars())
        if len(running) < said.cap:
            return []
        text = f"the cap of tenant {row.tenant}: {len(running)} of {said.cap} running, {_named(running)}"
        return [Reason(kind="cap", text=text, of=row.tenant, by=running)]

    def _tenant_rate(self, connection: Connection, row: JobRow) -> list[Reason]:
        said = connection.execute(self._control, {"of_kind": "tenant", "of_name": row.tenant}).first()
        if said is None or said.rate is None:
            return []
        wish = {"of_key": tenant_key(row.tenant), "since": -said.rate_seconds}
        if connection.execute(self._starts, wish).scalar_one() < said.rate:
            return []
        text = f"the rate of tenant {row.tenant}: {said.rate} have started in the last {said.rate_seconds:g} s"
        return [Reason(kind="rate", text=text, of=row.tenant)]

    def _turn(self, connection: Connection, row: JobRow) -> Reason:
        served = [
            row.queue in Selection(json.loads(queues)).in_turn([row.queue]) if queues is not None else True
            for queues in connection.execute(self._workers).scalars()
        ]
        if not any(served):
            none = f"none serves the queue {row.queue}" if served else "none is running"
            return Reason(kind="no_worker", text=f"a worker: {none}", of=row.queue)
        wish = {"of_queue": row.queue, "of_tenant": row.tenant, "of_priority": row.priority, "of_job": row.id}
        ahead = connection.execute(self._ahead, wish).scalar_one()
        many = f"{ahead} or more" if ahead == MOST_COUNTED else str(ahead or "none")
        whose = f"tenant {row.tenant}" if row.tenant else "those without a tenant"
        text = f"its turn in the queue {row.queue}: {many} of {whose} before it"
        return Reason(kind="turn", text=text, of=row.queue, ahead=ahead)


def _before(table: FromClause, id_column: str) -> ColumnElement[bool]:
    """Before a job in its line, by its priority and then its id."""
    return or_(
        table.c.priority < bindparam("of_priority"),
        (table.c.priority == bindparam("of_priority")) & (table.c[id_column] < bindparam("of_job")),
    )


def _named(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:MOST_NAMED]) + (", ..." if len(ids) > MOST_NAMED else "")

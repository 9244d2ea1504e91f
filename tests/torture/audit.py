"""What is counted when all is calm: each job that was committed has had its effect once, for its tenant, and ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from tenantjobs_db import tables
from tenantjobs_db.database import Database
from tests.torture.kinds import KINDS
from tests.torture.tables import AT_ONCE, PER, STARTS, Effect, Order

APP = "tests.torture.app"
TRANSACTIONAL = ("transactional", "on_a_loop", "alone", "limited", "rated", "flaky", "parent", "tick")
TOLERANCE = 0.002  # seconds: SQLite keeps moments by the thousandth


class Findings(msgspec.Struct):
    """What is wrong, each a list of sentences; ``repeated`` is allowed, and only counted."""

    lost: list[str] = []
    doubled: list[str] = []
    leaked: list[str] = []
    stuck: list[str] = []
    beyond: list[str] = []  # a limit, a rate, or before it was due
    undone: list[str] = []  # seen of a transaction that was rolled back
    repeated: int = 0

    @property
    def wrong(self) -> dict[str, list[str]]:
        """All that has to be empty."""
        return {name: getattr(self, name) for name in ("lost", "doubled", "leaked", "stuck", "beyond", "undone")}


def audit(database: Database) -> Findings:
    """Of a queue with which nobody works any more."""
    findings = Findings()
    with database.begin() as connection, Session(connection) as session:
        orders = list(session.scalars(select(Order)))
        effects = list(session.scalars(select(Effect)))
        _of_orders(findings, orders, effects)
        _of_jobs(findings, connection, effects)
        findings.leaked += _leaks(orders, effects)
        findings.beyond += _too_many_at_once(effects, orders)
        findings.beyond += _too_many_starts(connection)
        findings.beyond += _too_early(orders, effects)
        findings.stuck += _stuck(database, connection)
    return findings


def _of_orders(findings: Findings, orders: Sequence[Order], effects: Sequence[Effect]) -> None:
    counted: dict[int, Counter[str]] = defaultdict(Counter)
    for effect in effects:
        counted[effect.number][effect.part] += 1
    counted.pop(0, None)  # ticks have no order
    keys: dict[str, int] = Counter()
    for order in orders:
        kind = KINDS[order.kind]
        found = counted.pop(order.number, Counter())
        for part, count in found.items():
            if part not in kind.parts:
                findings.undone.append(f"{order.kind} {order.number}: an effect {part!r} that was rolled back")
            elif count > 1 and kind.once:
                findings.doubled.append(f"{order.kind} {order.number} {part}: {count} times")
            elif count > 1:
                findings.repeated += count - 1
        if order.key is not None:
            keys[order.key] += sum(found.values())
        else:
            findings.lost += [f"{order.kind} {order.number} {part}" for part in kind.parts if not found[part]]
    findings.lost += [f"unique {key}: none of its jobs" for key, count in keys.items() if not count]
    findings.undone += [f"effects of {number}, which was never committed" for number in counted]


def _of_jobs(findings: Findings, connection: Connection, effects: Sequence[Effect]) -> None:
    """By the jobs themselves: the same from the other side, and what nobody has ordered, such as ticks."""
    of_job = Counter(effect.job_id for effect in effects)
    names = {f"{APP}.{name}" for name in TRANSACTIONAL}
    for row in connection.execute(text("SELECT id, name, reason FROM tj_jobs WHERE state = 'finished'")):
        if row.name in names and of_job[row.id] != 1:
            wrong = findings.doubled if of_job[row.id] else findings.lost
            wrong.append(f"{row.name} {row.id} is finished and has {of_job[row.id]} effects ({row.reason})")
    findings.lost += _ended_badly(connection)
    ticks = connection.execute(text("SELECT count(*) FROM tj_ticks")).scalar_one()
    ticked = sum(effect.part == "tick" for effect in effects)
    if ticks != ticked:
        (findings.lost if ticked < ticks else findings.doubled).append(f"{ticks} ticks have had {ticked} effects")


def _ended_badly(connection: Connection) -> Iterator[str]:
    """Jobs that were given up, or have failed, save those that were to fail; and whether all of those have."""
    failed = 0
    ends = """
        SELECT j.id, j.name, j.state, j.reason, f.error_class, f.message FROM tj_jobs j
        LEFT JOIN tj_failures f ON f.job_id = j.id AND f.attempt = j.attempt
        WHERE j.state IN ('failed', 'discarded', 'quarantined')
    """
    for row in connection.execute(text(ends)):
        if row.state == "failed" and row.name == f"{APP}.hopeless" and "Planned" in str(row.error_class):
            failed += 1
        else:
            yield f"{row.name} {row.id} is {row.state}: {row.reason or row.error_class} {row.message}"[:300]
    planned = connection.execute(text("SELECT count(*) FROM orders WHERE kind = 'fails'")).scalar_one()
    if failed != planned:
        yield f"{failed} jobs have failed, and {planned} were to"


def _leaks(orders: Sequence[Order], effects: Sequence[Effect]) -> Iterator[str]:
    whose = {order.number: (order.tenant, order.mark) for order in orders}
    for effect in effects:
        expected = (None, None) if effect.part == "tick" else whose.get(effect.number)
        if expected is not None and (effect.tenant, effect.mark) != expected:
            yield f"an effect of {effect.number} was written as {(effect.tenant, effect.mark)} and not as {expected}"


def _too_many_at_once(effects: Sequence[Effect], orders: Sequence[Order]) -> Iterator[str]:
    limited = {order.number for order in orders if order.kind == "limits_concurrency"}
    spans: dict[str | None, list[Effect]] = defaultdict(list)
    for effect in effects:
        if effect.number in limited:
            spans[effect.tenant].append(effect)
    for tenant, those in spans.items():
        for one in those:
            at_once = [other.number for other in those if other.began <= one.began < other.ended]
            if len(at_once) > AT_ONCE:
                yield f"{tenant}: {at_once} ran at once"


def _too_many_starts(connection: Connection) -> Iterator[str]:
    seen = tables.starts.to_metadata(tables.MetaData(), name="starts_seen")
    starts: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(select(seen).order_by(seen.c.key, seen.c.started_at)):
        starts[row.key].append(row.started_at)
    for key, moments in starts.items():
        for first, beyond in zip(moments, moments[STARTS:], strict=False):
            if (beyond - first).total_seconds() < PER - TOLERANCE:
                yield f"{key}: more than {STARTS} starts within {PER:g} s, from {first} on"
    started = sum(map(len, starts.values()))
    ended = connection.execute(
        text("SELECT count(*) FROM effects e JOIN orders o ON o.number = e.number WHERE o.kind = 'limits_rate'")
    ).scalar_one()
    if started < ended:
        yield f"{ended} jobs with a rate have ended, and {started} have been counted as started"


def _too_early(orders: Sequence[Order], effects: Sequence[Effect]) -> Iterator[str]:
    due = {order.number: order.due for order in orders if order.due is not None}
    for effect in effects:
        if effect.began < due.get(effect.number, 0) - TOLERANCE:
            yield f"{effect.number} started {due[effect.number] - effect.began:.3f} s too early"


def _stuck(database: Database, connection: Connection) -> Iterator[str]:
    now = database.dialect.now()
    left = {
        "unfinished jobs": (tables.jobs, tables.in_state("ready", "scheduled", "blocked", "claimed")),
        "claims and owners that do not agree": (
            tables.jobs,
            (tables.jobs.c.state == "claimed") != tables.jobs.c.claimed_by.is_not(None),
        ),
        "locks": (tables.locks, None),
        "permits": (tables.permits, tables.permits.c.expires_at > now),
        "blocked jobs": (tables.blocked, None),
        "keys that are still running": (tables.ledger, tables.ledger.c.state != "done"),
        "open batches": (tables.batches, tables.batches.c.finished_at.is_(None)),
        "processes": (tables.processes, None),
    }
    for what, (table, condition) in left.items():
        query = select(func.count()).select_from(table)
        count = connection.execute(query if condition is None else query.where(condition)).scalar_one()
        if count:
            yield f"{count} {what}"

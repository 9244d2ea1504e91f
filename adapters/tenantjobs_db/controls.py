"""What operators say of a queue, a tenant or a job: paused, closed, its weight, cap and rate. Every claim asks for it.

A row is there only while something is said, so that a queue without any is claimed from as if there were no controls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, cast, get_args

import msgspec
from sqlalchemy import Executable, bindparam, delete, func, select, update

from tenantjobs import definition
from tenantjobs.controls import WINDOW, Control, Kind, Line, Rate, Share
from tenantjobs.errors import ConfigurationError
from tenantjobs.idempotency import seconds_of
from tenantjobs.identity import canonical_id
from tenantjobs.rates import MOST
from tenantjobs_db.calling import Calling
from tenantjobs_db.closing import Closing, refuse_buried
from tenantjobs_db.database import Database
from tenantjobs_db.instructions import paused_key
from tenantjobs_db.lines import line_of, lines_by, read_lines
from tenantjobs_db.queue import BATCH
from tenantjobs_db.queues import queues_with_work
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.shares import read_starts, shares, starts_by_tenant
from tenantjobs_db.tables import controls as rows
from tenantjobs_db.tables import outbox
from tenantjobs_db.waiting import Waiting

LIGHTEST, HEAVIEST = 0.01, 100.0
LARGEST = 2**31 - 1

OUTBOX = select(outbox.c.tenant, func.count().label("jobs")).group_by(outbox.c.tenant)
OUTBOX_OF = OUTBOX.where(outbox.c.tenant == bindparam("of_name"))


class Controls:
    """Says it, and reads it. It holds for every worker from its next claim on; what runs is left to run."""

    def __init__(self, database: Database, *, kept: float | None = None, outside: Sequence[Database] = ()) -> None:
        """``kept`` is for how many seconds finished jobs stay, None for ever.

        ``outside`` are other databases that jobs are written to on their way here.
        """
        dialect = database.dialect
        self._database = database
        self._waiting = Waiting(dialect)
        self._calling = Calling(dialect)
        self._queues_with_work = queues_with_work(dialect)
        self._closing = Closing(database)
        self._outside = outside
        self._closing_outside = [Closing(other) for other in outside]
        self._kept = kept
        self._starts = starts_by_tenant(dialect)
        here = (rows.c.kind == bindparam("of_kind"), rows.c.name == bindparam("of_name"))
        self._insert = dialect.insert_new(rows).values(changed_at=dialect.now())
        self._pause = (
            update(rows)
            .where(*here, rows.c.paused_at.is_(None))
            .values(paused_at=dialect.now(), reason=bindparam("why"), changed_at=dialect.now())
        )
        self._explain = update(rows).where(*here).values(reason=bindparam("why"), changed_at=dialect.now())
        self._resume = (
            update(rows)
            .where(*here, rows.c.paused_at.is_not(None))
            .values(paused_at=None, reason=None, changed_at=dialect.now())
        )
        self._set = update(rows).where(*here).values(changed_at=dialect.now())
        self._forget = delete(rows).where(
            *here, *(column.is_(None) for column in (rows.c.paused_at, rows.c.weight, rows.c.cap, rows.c.rate))
        )
        self._find = select(rows).where(*here)
        self._all = select(rows)
        self._lines = {kind: lines_by(kind, dialect) for kind in ("queue", "tenant")}
        self._line = {kind: line_of(kind, dialect) for kind in ("queue", "tenant")}

    def pause(self, kind: Kind, name: str, *, reason: str | None = None) -> bool:
        """Have no more jobs of it start until it is resumed; False if it was paused already.

        Its jobs can still be enqueued, and wait. ``reason`` is what people are told who ask why.
        """
        place = _place(kind, name, known=True)
        with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.begin() as connection:
            connection.execute(self._insert, {"kind": place["of_kind"], "name": place["of_name"]})
            paused = connection.execute(self._pause, place | {"why": reason}).rowcount == 1
            if not paused and reason is not None:
                connection.execute(self._explain, place | {"why": reason})
        return paused

    def resume(self, kind: Kind, name: str) -> bool:
        """Have its jobs start again; False if it was not paused."""
        place = _place(kind, name)
        with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.begin() as connection:
            if kind == "tenant":
                refuse_buried(connection, [place["of_name"]])
            resumed = connection.execute(self._resume, place).rowcount == 1
            connection.execute(self._forget, place)
            if resumed and kind != "job" and self._calling.is_heard:
                queues = [name] if kind == "queue" else self._queues_with_work(connection)
                self._calling.call_for(connection, queues)
        if kind == "job":
            self._let_out(place["of_name"])
        return resumed

    def set_weight(self, tenant: object, weight: float | None) -> None:
        """Give a tenant ``weight`` jobs where another one has one, from 0.01 to 100; None for 1 again."""
        self._say(tenant, weight=None if weight is None else _weight(weight))

    def set_cap(self, tenant: object, cap: int | None) -> None:
        """Let at most ``cap`` jobs of a tenant run at once, over all queues and workers; None for any number."""
        if cap is not None and not (type(cap) is int and 1 <= cap <= LARGEST):
            raise ConfigurationError(
                f"a cap of {cap!r}: a whole number from 1 on is wanted; to let no job of a tenant start, pause it"
            )
        self._say(tenant, cap=cap)

    def set_rate(self, tenant: object, to: int | None, per: float | timedelta = 60.0) -> None:
        """Let at most ``to`` jobs of a tenant start in any ``per`` (seconds or timedelta); None for any number."""
        if to is not None and not (type(to) is int and 1 <= to <= MOST):
            raise ConfigurationError(
                f"a rate of {to!r}: a whole number from 1 to {MOST} is wanted; or pause the tenant"
            )
        self._say(tenant, rate=to, rate_seconds=None if to is None else seconds_of("a rate", "per", per))

    def drain(self, tenant: object, *, reason: str | None = None) -> bool:
        """Take nothing new for a tenant, and let what it has run out; False if it was closed already.

        Whoever enqueues for it gets ``TenantClosed``. What its own jobs enqueue goes on with that work and is taken, as
        are the next jobs of chains, callbacks of batches, and what an outbox has.
        """
        name = canonical_id(tenant)
        for outside in self._closing_outside:
            outside.drain(name, reason)
        return self._closing.drain(name, reason)

    def open(self, tenant: object, *, purged: bool = False) -> bool:
        """Take jobs for a tenant again; False if it was not closed.

        ``purged`` says that the id of a tenant that was purged belongs to another one by now: else ``TenantGone``.
        """
        name = canonical_id(tenant)
        opened = self._closing.open(name, purged=purged)
        for outside in self._closing_outside:
            opened |= outside.open(name, purged=purged)
        return opened

    def closed(self, tenants: Collection[str]) -> frozenset[str]:
        """Those of ``tenants``, by their ids, for which nothing would be taken from who asks now."""
        return self._closing.closed(tenants)

    def find(self, kind: Kind, name: str) -> Control | None:
        """What is said of it; None for nothing."""
        place = _place(kind, name)
        with saying_what_is_missing(), self._database.autocommit() as connection:
            row = connection.execute(self._find, place).first()
            state = self._closing.find(connection, place["of_name"]) if kind == "tenant" else None
        return None if row is None and state is None else _control((kind, place["of_name"]), row, state)

    def all(self) -> list[Control]:
        """Everything that is said, by kind and name; nothing of tenants that are purged."""
        with saying_what_is_missing(), self._database.autocommit() as connection:
            said = {(row.kind, row.name): row for row in connection.execute(self._all)}
            states = {("tenant", row.tenant): row for row in self._closing.all(connection)}
        return [_control(place, said.get(place), states.get(place)) for place in sorted({*said, *states})]

    def lines(self, kind: Literal["queue", "tenant"]) -> list[Line]:
        """How much waits in each queue, or for each tenant, by name; those without unfinished jobs are left out."""
        with saying_what_is_missing():
            with self._database.autocommit() as connection:
                found = read_lines(connection, self._lines[kind])
            return _with_outbox(found, self._in_outbox(OUTBOX)) if kind == "tenant" else found

    def line(self, kind: Literal["queue", "tenant"], name: str) -> Line:
        """The same of one of them."""
        of_name = _place(kind, name)["of_name"]
        with saying_what_is_missing():
            with self._database.autocommit() as connection:
                found = read_lines(connection, self._line[kind], of_name=of_name)
            if kind == "tenant":
                found = _with_outbox(found, self._in_outbox(OUTBOX_OF, of_name=of_name))
        return found[0] if found else Line(name=name)

    def shares(self, window: float = WINDOW, lines: Sequence[Line] | None = None) -> list[Share] | None:
        """Of each tenant that has started jobs in the last ``window`` seconds, or could start some, by name.

        It counts the jobs that run, or have ended since. None where finished jobs are not kept, so that nobody knows.
        ``lines`` are those of tenants, where they have been counted already.
        """
        if self._kept == 0:
            return None
        window = window if self._kept is None else min(window, self._kept)
        with saying_what_is_missing(), self._database.autocommit() as connection:
            starts = read_starts(connection, self._starts, window)
        return shares(starts, self.lines("tenant") if lines is None else lines, self.all())

    def _say(self, tenant: object, **values: Any) -> None:
        place = {"of_kind": "tenant", "of_name": canonical_id(tenant)}
        statement = self._set.values({name: bindparam(f"new_{name}") for name in values})
        with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.begin() as connection:
            connection.execute(self._insert, {"kind": "tenant", "name": place["of_name"]})
            connection.execute(statement, place | {f"new_{name}": value for name, value in values.items()})
            connection.execute(self._forget, place)

    def _in_outbox(self, statement: Executable, **which: str) -> Counter[str]:
        """How many jobs lie in an outbox, here or in another database, by their tenants."""
        counted: Counter[str] = Counter()
        for database in (self._database, *self._outside):
            with database.autocommit() as connection:
                counted.update({row.tenant: row.jobs for row in connection.execute(statement, which)})
        return counted

    def _let_out(self, name: str) -> None:
        """Workers would find them as well; in batches, so that no transaction is long."""
        let_out = BATCH
        while let_out == BATCH:
            with self._database.begin() as connection:
                let_out = self._waiting.let_out(connection, paused_key(name), BATCH)


def _with_outbox(lines: Iterable[Line], counted: Mapping[str, int]) -> list[Line]:
    by_name = {line.name: line for line in lines}
    for name, count in counted.items():
        by_name[name] = msgspec.structs.replace(by_name.get(name, Line(name=name)), outbox=count)
    return [by_name[name] for name in sorted(by_name)]


def _place(kind: Kind, name: object, *, known: bool = False) -> dict[str, str]:
    if kind not in get_args(Kind):
        raise ConfigurationError(f"{kind!r} cannot be paused: it is one of {', '.join(get_args(Kind))}")
    if kind == "tenant":
        return {"of_kind": kind, "of_name": canonical_id(name)}
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"{name!r} is no name of a {kind}")
    return {"of_kind": kind, "of_name": _job(name, known=known) if kind == "job" else name}


def _job(name: str, *, known: bool) -> str:
    """The name under which a job is known, for an alias too."""
    found = definition.lookup(name)
    if found is None and known:
        like = definition.nearest_name(name)
        raise ConfigurationError(
            f"no job is called {name!r}: "
            + (f"did you mean {like!r}?" if like else "the module that defines it is to be imported")
        )
    return name if found is None else found.name


def _weight(weight: object) -> float:
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not LIGHTEST <= weight <= HEAVIEST:
        raise ConfigurationError(
            f"a weight of {weight!r}: a number from {LIGHTEST:g} to {HEAVIEST:g} is wanted, and a tenant without one "
            f"has 1; to let no job of a tenant start, pause it"
        )
    return float(weight)


def _control(place: tuple[str, str], row: Any | None, state: Any | None) -> Control:
    control = Control(kind=cast(Kind, place[0]), name=place[1])
    if row is not None:
        control = msgspec.structs.replace(
            control,
            paused_at=row.paused_at,
            reason=row.reason,
            weight=row.weight,
            cap=row.cap,
            rate=None if row.rate is None else Rate(row.rate, row.rate_seconds),
        )
    if state is not None:
        control = msgspec.structs.replace(
            control, closed=state.state, closed_at=state.closed_at, closed_for=state.reason
        )
    return control

"""Batches in two tables, which can commit together with the jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from tenantjobs.membership import (
    CALLBACK,
    CALLBACKS,
    DONE,
    DUE,
    FAILED,
    JOB,
    PENDING,
    SENT,
    Member,
    NewBatch,
    StoredBatch,
)
from tenantjobs_db.closing import insert_unless_closed, refuse_closed
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.tables import CANCELLED, DISCARDED, FINISHED, QUARANTINED, batches, in_state, jobs
from tenantjobs_db.tables import FAILED as JOB_FAILED
from tenantjobs_db.tables import batch_jobs as rows

RECENT = 3600.0  # seconds since the end of a job whose worker could not say it to its batch


class DatabaseBatches:
    """The contract of ``membership.Batches``, and what a worker does for batches that nobody looks after."""

    def __init__(self, database: Database, joins: Callable[[object], bool] = lambda _connection: False) -> None:
        dialect = database.dialect
        now = dialect.now()
        self._database = database
        self._joins = joins
        here = (rows.c.batch == bindparam("of_batch"), rows.c.job == bindparam("of_job"))
        of_batch = rows.c.batch == bindparam("of_batch")
        this = batches.c.id == bindparam("of_batch")
        self._insert = insert_unless_closed(
            dialect,
            batches,
            [column for column in batches.c if column.name not in ("created_at", "failed_at", "finished_at")],
            {"created_at": now, "failed_at": dialect.after(seconds("failed"))},
        )
        self._insert_rows = dialect.insert_new(rows)
        self._lock = select(batches).where(_listed(batches.c.id)).order_by(batches.c.id).with_for_update()
        self._share = select(batches.c.id).where(this).with_for_update(read=True)
        self._mark = update(rows).where(*here, _unfinished()).values(state=bindparam("new_state"))
        self._send = update(rows).where(*here, _in(DUE)).values(state=SENT)
        ended_not = and_(_listed(rows.c.job), _in(PENDING), rows.c.kind == JOB)
        self._batches_of = select(rows.c.batch).where(ended_not).distinct()
        self._remove = delete(rows).where(ended_not)
        self._forget = delete(batches).where(_listed(batches.c.id))
        self._forget_rows = delete(rows).where(or_(_listed(rows.c.batch), _listed(rows.c.job)))
        self._pending = select(rows.c.job).where(of_batch, _in(PENDING)).limit(1)
        self._failed = select(rows.c.job).where(of_batch, _in(FAILED), rows.c.kind != CALLBACK).limit(1)
        self._close = update(batches).where(this).values(closed=True)
        self._fail = update(batches).where(this, batches.c.failed_at.is_(None)).values(failed_at=now)
        self._finish = update(batches).where(this, batches.c.finished_at.is_(None)).values(finished_at=now)
        self._due = select(rows.c.job).where(of_batch, _in(DUE))
        self._read = select(batches).where(this)
        self._counts = (
            select(rows.c.state, func.count().label("jobs")).where(of_batch, rows.c.kind == JOB).group_by(rows.c.state)
        )
        open_work = exists().where(rows.c.batch == batches.c.id, _in(PENDING))
        undelivered = exists().where(rows.c.batch == batches.c.id, _in(DUE))
        self._stalled = (
            select(batches.c.id)
            .where(batches.c.closed, or_(and_(batches.c.finished_at.is_(None), ~open_work), undelivered))
            .limit(BATCH)
        )
        ended = (
            in_state(FINISHED, DISCARDED, JOB_FAILED, QUARANTINED),
            jobs.c.finished_at > dialect.after(seconds("age")),
        )
        self._untold = (
            select(rows.c.batch, rows.c.job, jobs.c.state, jobs.c.reason)
            .select_from(rows.join(jobs, jobs.c.id == rows.c.job))
            .where(_in(PENDING, SENT), *ended)
            .limit(BATCH)
        )
        called_back = ~exists().where(rows.c.batch == batches.c.id, _in(PENDING, DUE, SENT))
        self._old = dialect.skip_locked(
            select(batches.c.id).where(batches.c.finished_at < dialect.after(seconds("age")), called_back).limit(BATCH),
            batches,
        )

    def joins(self, engine: object) -> bool:
        """True for the application's engine where batches are in its database, and for connections of our own."""
        return self._joins(engine) or (isinstance(engine, Connection) and self._database.began(engine))

    @contextmanager
    def transaction(self, connection: object | None = None) -> Iterator[Connection]:
        with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.joined(connection, self._joins) as on:
            yield on

    def add(self, on: Connection, new: Sequence[NewBatch], members: Sequence[Member], state: str = PENDING) -> None:
        if new and on.execute(self._insert, [_row(batch) for batch in new]).rowcount < len(new):
            refuse_closed(on, [batch.tenant for batch in new])
        if members:
            on.execute(self._insert_rows, [{**member._asdict(), "state": state} for member in sorted(members)])

    def lock(self, on: Connection, ids: Collection[str]) -> dict[str, StoredBatch]:
        return {row.id: _stored(row) for row in on.execute(self._lock, {"listed": sorted(ids)})}

    def share(self, on: Connection, batch: str) -> None:
        on.execute(self._share, {"of_batch": batch})

    def mark(self, on: Connection, members: Sequence[tuple[str, str]], state: str) -> None:
        if members:
            places = [{"of_batch": batch, "of_job": job} for batch, job in sorted(members)]
            if state == SENT:
                on.execute(self._send, places)
            else:
                on.execute(self._mark, [{**place, "new_state": state} for place in places])

    def remove(self, on: Connection, jobs: Collection[str]) -> set[str]:
        found = set(on.execute(self._batches_of, {"listed": list(jobs)}).scalars())
        if found:
            on.execute(self._remove, {"listed": list(jobs)})
        return found

    def forget(self, on: Connection, ids: Collection[str]) -> None:
        on.execute(self._forget_rows, {"listed": list(ids)})
        on.execute(self._forget, {"listed": list(ids)})

    def is_busy(self, batch: str, on: Connection | None = None) -> bool:
        if on is not None:
            return on.execute(self._pending, {"of_batch": batch}).first() is not None
        with self._database.autocommit() as connection:
            return connection.execute(self._pending, {"of_batch": batch}).first() is not None

    def has_failed(self, on: Connection, batch: str) -> bool:
        return on.execute(self._failed, {"of_batch": batch}).first() is not None

    def close(self, on: Connection, batch: str) -> None:
        on.execute(self._close, {"of_batch": batch})

    def fail(self, on: Connection, batch: str) -> None:
        on.execute(self._fail, {"of_batch": batch})

    def finish(self, on: Connection, batch: str) -> None:
        on.execute(self._finish, {"of_batch": batch})

    def due(self, on: Connection, batch: str) -> set[str]:
        return set(on.execute(self._due, {"of_batch": batch}).scalars())

    def read(self, batch: str) -> StoredBatch | None:
        with saying_what_is_missing(), self._database.autocommit() as connection:
            row = connection.execute(self._read, {"of_batch": batch}).first()
        return None if row is None else _stored(row)

    def counts(self, batch: str) -> dict[str, int]:
        with self._database.autocommit() as connection:
            return {row.state: row.jobs for row in connection.execute(self._counts, {"of_batch": batch})}

    def stalled(self) -> list[str]:
        """Batches that would have ended, or called back, had nobody died on the way."""
        with self._database.autocommit() as connection:
            return list(connection.execute(self._stalled).scalars())

    def untold(self) -> list[tuple[str, str, str | None]]:
        """Jobs of this queue that have ended without their batch having been told: batch, job, and how.

        None stands for one that was taken back, and that no batch waits for any more.
        """
        with self._database.autocommit() as connection:
            found = connection.execute(self._untold, {"age": -RECENT}).all()
        return [(row.batch, row.job, _ending(row.state, row.reason)) for row in found]

    def prune(self, age: float) -> int:
        """Forget batches that ended more than ``age`` seconds ago and have called back; how many there were."""
        with self._database.begin() as connection:
            old = list(connection.execute(self._old, {"age": -age}).scalars())
            if old:
                connection.execute(delete(rows).where(_listed(rows.c.batch)), {"listed": old})
                connection.execute(self._forget, {"listed": old})
        return len(old)


def _ending(state: str, reason: str | None) -> str | None:
    if state == FINISHED:
        return DONE
    return None if state == DISCARDED and reason == CANCELLED else FAILED


def _row(batch: NewBatch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "tenant": batch.tenant,
        "description": batch.description,
        "properties": batch.properties,
        "parent": batch.parent,
        "closed": batch.closed,
        "failed": 0.0 if batch.failed else None,  # seconds from now; now() and NULL are NULL
        **{name: batch.callbacks.get(name) for name in CALLBACKS},
    }


def _stored(row: Any) -> StoredBatch:
    return StoredBatch(
        id=row.id,
        tenant=row.tenant,
        description=row.description,
        properties=row.properties,
        parent=row.parent,
        callbacks={name: text for name in CALLBACKS if (text := getattr(row, name)) is not None},
        closed=row.closed,
        failed_at=row.failed_at,
        finished_at=row.finished_at,
    )


def _listed(column: ColumnElement[str]) -> ColumnElement[bool]:
    return column.in_(bindparam("listed", expanding=True))


def _unfinished() -> ColumnElement[bool]:
    """As the partial index says it: a condition with a parameter would not be found in there."""
    return rows.c.state != literal_column(f"'{DONE}'")


def _in(*states: str) -> ColumnElement[bool]:
    return and_(_unfinished(), or_(*(rows.c.state == literal_column(f"'{state}'") for state in states)))

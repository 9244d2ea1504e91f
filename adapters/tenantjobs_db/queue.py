"""The queue as its producers and its keepers see it: put jobs in, take one back, keep it in order, look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, select, update
from sqlalchemy.exc import DBAPIError

from tenantjobs.envelope import Envelope
from tenantjobs_db.calling import Calling
from tenantjobs_db.copying import Copying, NotCopied, copies
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.enqueuing import Enqueuing
from tenantjobs_db.job_row import JobRow, read_job
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.queues import queues_with_work
from tenantjobs_db.refusing import say_what_is_missing, say_who_is_in_the_way, saying_what_is_missing
from tenantjobs_db.tables import (
    BLOCKED,
    CANCELLED,
    DISCARDED,
    FAILED,
    PRUNED,
    QUARANTINED,
    READY,
    SCHEDULED,
    failures,
    in_state,
    jobs,
    results,
)

BATCH = 500

T = TypeVar("T")


class Queue:
    """The jobs in a database. Every method is a short transaction of its own, except those ``..._within``."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        now = dialect.now()
        self._database = database
        self._driver: Any = database.engine.dialect.dbapi
        self._enqueuing = Enqueuing(dialect)
        self._insert_one = database.sent(self._enqueuing.insert_one)
        self._calling = Calling(dialect)
        self._copying = Copying(self._calling) if copies(database.engine) else None
        self._cancel = (
            update(jobs)
            .where(jobs.c.id == bindparam("job_id"), in_state(READY, SCHEDULED, BLOCKED))
            .values(state=DISCARDED, reason=CANCELLED, finished_at=now)
        )
        is_due = (in_state(SCHEDULED), jobs.c.due_at <= now)
        self._anything_due = select(jobs.c.id).where(*is_due).limit(1)
        self._due = dialect.skip_locked(
            select(jobs.c.id).where(*is_due).order_by(jobs.c.due_at, jobs.c.id).limit(bindparam("batch")),
            jobs,
            "tj_jobs_scheduled",
        )
        self._promote = update(jobs).where(_listed(jobs.c.id), in_state(SCHEDULED)).values(state=READY)
        is_old = (in_state(*PRUNED), jobs.c.finished_at < dialect.after(seconds("age")))
        order = (jobs.c.finished_at,) if dialect.partial_indexes else (jobs.c.state, jobs.c.finished_at)
        self._old = dialect.skip_locked(
            select(jobs.c.id).where(*is_old).order_by(*order).limit(bindparam("batch")), jobs, "tj_jobs_pruned"
        )
        has_failed = in_state(FAILED, QUARANTINED)
        self._failed_long_ago = (
            select(jobs.c.id)
            .where(has_failed, jobs.c.finished_at < dialect.after(seconds("age")))
            .order_by(jobs.c.finished_at)
            .limit(bindparam("batch"))
        )
        # Those before the ones that are kept, which are counted from the latest on.
        self._failed_before_others = (
            select(jobs.c.id)
            .where(has_failed)
            .order_by(jobs.c.finished_at.desc(), jobs.c.id.desc())
            .limit(bindparam("batch"))
            .offset(bindparam("kept"))
        )
        self._still_failed = dialect.skip_locked(select(jobs.c.id).where(_listed(jobs.c.id), has_failed), jobs)
        self._forget_failures = delete(failures).where(_listed(failures.c.job_id))
        self._forget_results = delete(results).where(_listed(results.c.job_id))
        self._forget = delete(jobs).where(_listed(jobs.c.id))
        self._queues = queues_with_work(dialect)
        self._counts = select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state)

    def enqueue(self, envelopes: Sequence[Envelope]) -> None:
        """Store the jobs, all or none; durable on return. An id that is already there has no second effect."""
        try:
            if len(envelopes) == 1:
                self._enqueue_one(envelopes[0])
            elif envelopes:
                self._enqueue_many(envelopes)
        except DBAPIError as error:
            say_what_is_missing(error)
            say_who_is_in_the_way(error)
            raise

    def enqueue_within(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        """Store the jobs in the transaction of ``connection``, whose owner commits."""
        if envelopes:
            with saying_what_is_missing():
                self._enqueuing.insert(connection, envelopes)

    def cancel(self, job_id: str) -> bool:
        """Take a job back that has not started: True if it will not run."""
        return self._database.run(lambda connection: self.cancel_within(connection, job_id))

    def cancel_within(self, connection: Connection, job_id: str) -> bool:
        """The same in the transaction of ``connection``, whose owner commits."""
        return connection.execute(self._cancel, {"job_id": job_id}).rowcount == 1

    def promote(self, batch: int = BATCH) -> int:
        """Make scheduled jobs ready whose time has come, the longest due first; how many there were."""
        with self._database.autocommit() as connection:
            if connection.execute(self._anything_due).first() is None:
                return 0

        def promote(connection: Connection) -> int:
            ids = connection.execute(self._due, {"batch": batch}).scalars().all()
            if ids:
                connection.execute(self._promote, {"listed": ids})
                self._calling.call(connection, ids)
            return len(ids)

        return self._database.run(promote)

    def prune(self, age: float, batch: int = BATCH) -> int:
        """Forget finished and discarded jobs that ended more than ``age`` seconds ago; how many there were."""

        def prune(connection: Connection) -> int:
            ids = connection.execute(self._old, {"age": -age, "batch": batch}).scalars().all()
            if ids:
                connection.execute(self._forget_failures, {"listed": ids})
                connection.execute(self._forget_results, {"listed": ids})
                connection.execute(self._forget, {"listed": ids})
            return len(ids)

        return self._database.run(prune)

    def prune_failed(self, age: float | None, kept: int | None, batch: int = BATCH) -> int:
        """Forget failed jobs that ended more than ``age`` seconds ago, and those before the last ``kept``."""
        too_old = 0 if age is None else self._prune_failed(self._failed_long_ago, {"age": -age, "batch": batch})
        too_many = 0 if kept is None else self._prune_failed(self._failed_before_others, {"kept": kept, "batch": batch})
        return too_old + too_many

    def ready_queues(self) -> list[str]:
        """The names of the queues that have work."""
        with self._database.autocommit() as connection:
            return self._queues(connection)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._database.autocommit() as connection:
            return {row.state: row.jobs for row in connection.execute(self._counts)}

    def find(self, job_id: str) -> JobRow | None:
        """What is known of a job, with every attempt that failed."""
        with self._database.autocommit() as connection:
            return read_job(connection, job_id)

    def _prune_failed(self, chosen: Select[Any], values: dict[str, float]) -> int:
        def prune(connection: Connection) -> int:
            found = connection.execute(chosen, values).scalars().all()
            # Somebody may retry one of them at this moment.
            ids = connection.execute(self._still_failed, {"listed": found}).scalars().all() if found else []
            if ids:
                connection.execute(self._forget_failures, {"listed": ids})
                connection.execute(self._forget, {"listed": ids})
            return len(ids)

        return self._database.run(prune)

    def _enqueue_one(self, envelope: Envelope) -> None:
        # The ordinary way says what is wrong, and what to do where nothing is.
        if self._insert_one is None or not self._is_stored(envelope, self._insert_one):
            self._again_if_disconnected(lambda: self._enqueue_as_others([envelope]))

    def _is_stored(self, envelope: Envelope, insert: Prepared) -> bool:
        """False if its id was there already, its tenant is closed, or the connection is dead."""
        try:
            return insert.execute(self._enqueuing.row(envelope)) == 1
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return False

    def _enqueue_as_others(self, envelopes: Sequence[Envelope]) -> None:
        with self._database.autocommit() as connection:
            self._enqueuing.insert(connection, envelopes)

    def _enqueue_many(self, envelopes: Sequence[Envelope]) -> None:
        if not self._are_copied(envelopes):
            made = list(envelopes)  # some may be made only now, and nobody is to wait for that
            self._again_if_disconnected(lambda: self._insert_many(made))

    def _insert_many(self, envelopes: Sequence[Envelope]) -> None:
        if self._enqueuing.is_one_statement(envelopes):
            self._enqueue_as_others(envelopes)
        else:
            self._database.run(lambda connection: self._enqueuing.insert(connection, envelopes))

    def _are_copied(self, envelopes: Sequence[Envelope]) -> bool:
        """False, and nothing is there, if they are not for COPY, or an id was there already, or anything else."""
        if self._copying is None or not self._copying.takes(envelopes):
            return False
        try:
            with self._database.begin() as connection:
                self._copying.insert(connection, envelopes)
        except (NotCopied, DBAPIError, self._driver.Error):
            return False
        return True

    def _again_if_disconnected(self, work: Callable[[], T]) -> T:
        # A pooled connection may be dead since the server restarted. The ids make a second try harmless, even if
        # the first had been committed.
        try:
            return work()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return work()


def _listed(column: ColumnElement[str]) -> ColumnElement[bool]:
    return column.in_(bindparam("listed", expanding=True))

"""The jobs of the queue for people: ``tenantjobs.upkeep.JobStore`` on the tables."""

from __future__ import annotations

from collections.abc import Callable

from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tenantjobs.upkeep import BATCH, Changes, JobStats, Verb
from tenantjobs.view import JobFilter, JobView, KeptResult
from tenantjobs_db import schema
from tenantjobs_db.counting import Counting
from tenantjobs_db.database import Database
from tenantjobs_db.intervening import Intervening
from tenantjobs_db.opening import answering
from tenantjobs_db.refusing import saying_who_is_in_the_way
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.viewing import Viewing


class DatabaseJobs:
    """Looks in transactions of one statement each, and changes jobs in short ones."""

    def __init__(
        self, database: Database, settings: DatabaseSettings, *, has_batches: bool, wake: Callable[[], object]
    ) -> None:
        self._database = database
        self._settings = settings
        self._has_batches = has_batches
        self._wake = wake
        self._is_known = False
        self._viewing = Viewing(database)
        self._counting = Counting(database.dialect)
        self._intervening = Intervening(database)

    def find(self, job_id: str) -> JobView | None:
        self._require()
        with self._database.autocommit() as connection:
            return self._viewing.view(connection, job_id)

    def result(self, job_id: str) -> KeptResult | None:
        self._require()
        with self._database.autocommit() as connection:
            return self._viewing.result(connection, job_id)

    def page(
        self, which: JobFilter, *, after: str | None = None, limit: int = 100, newest_first: bool = False
    ) -> list[JobView]:
        self._require(which)
        with self._database.autocommit() as connection:
            return self._viewing.page(connection, which, after=after, limit=limit, newest_first=newest_first)

    def count(self, which: JobFilter) -> int:
        self._require(which)
        with self._database.autocommit() as connection:
            return self._counting.count(connection, which)

    def stats(self, which: JobFilter, *, window: float) -> JobStats:
        self._require(which)
        with self._database.autocommit() as connection:
            return self._counting.stats(connection, which, window)

    def change(
        self, verb: Verb, which: JobFilter, *, after: str | None = None, limit: int = BATCH, reason: str | None = None
    ) -> Changes:
        self._require(which)
        with saying_who_is_in_the_way():
            changes = self._intervening.change(verb, which, after=after, limit=limit, reason=reason)
        if changes.changed:
            self._wake()
        return changes

    def _require(self, which: JobFilter | None = None) -> None:
        if which is not None and which.batch is not None and not self._has_batches:
            raise UnsupportedCapability(
                "jobs cannot be chosen by their batch here: with outbox = true, batches are in the database of the "
                "application, and the jobs in that of the queue"
            )
        if not self._is_known:
            with answering(self._database, self._settings), self._database.autocommit() as connection:
                problem = schema.status(connection).problem
            if problem is not None:
                raise ConfigurationError(problem)
            self._is_known = True

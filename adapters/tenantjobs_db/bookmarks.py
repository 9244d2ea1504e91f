"""The bookmarks of jobs that another queue delivers: written with the transactions of their steps where they join."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from sqlalchemy import Connection, bindparam, delete, literal_column, select, update
from sqlalchemy.exc import DBAPIError

from tenantjobs.bookmark import Bookmark
from tenantjobs.bookmarks import Kept
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_db.closing import insert_unless_buried
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import is_missing
from tenantjobs_db.tables import bookmarks

BETWEEN = 3_600.0  # seconds from one look for what is old to the next


class DatabaseBookmarks:
    """One row for each job that has begun its steps, until it has ended; for ``keep`` seconds if it has failed.

    Workers of another queue do no chores, so that what is old goes when a job ends.
    """

    def __init__(self, database: Database, joins: Callable[[object], bool], *, keep: float) -> None:
        dialect = database.dialect
        self.joins = joins
        self._database = database
        self._keep = keep
        self._prune_at = 0.0
        here = bookmarks.c.job_id == bindparam("of_job")
        self._find = select(bookmarks.c.bookmark, bookmarks.c.version).where(here)
        # How many rows an INSERT has made is told in a way of its own by each database: the UPDATE after it decides.
        self._first = insert_unless_buried(
            dialect,
            bookmarks,
            [bookmarks.c.job_id, bookmarks.c.tenant, bookmarks.c.name],
            {"version": literal_column("0"), "bookmark": literal_column("'{}'"), "kept_at": dialect.now()},
        )
        self._next = (
            update(bookmarks)
            .where(here, bookmarks.c.version == bindparam("after_version"))
            .values(bookmark=bindparam("as_text"), version=bookmarks.c.version + 1, kept_at=dialect.now())
        )
        self._forget = delete(bookmarks).where(here)
        self._old = dialect.skip_locked(
            select(bookmarks.c.job_id).where(bookmarks.c.kept_at < dialect.after(seconds("age"))).limit(BATCH),
            bookmarks,
        )
        self._forget_all = delete(bookmarks).where(bookmarks.c.job_id.in_(bindparam("listed", expanding=True)))

    def find(self, job_id: str) -> Kept | None:
        try:
            with self._database.autocommit() as connection:
                row = connection.execute(self._find, {"of_job": job_id}).first()
        except DBAPIError as error:
            if not is_missing(error):
                raise
            raise ConfigurationError(
                f"job id={job_id} has steps, and the database has no place for how far it has come ({error.orig}); run "
                f"`tenantjobs db upgrade`"
            ) from error
        return None if row is None else Kept(msgspec.json.decode(row.bookmark, type=Bookmark), row.version)

    def keep(self, envelope: Envelope, version: int, connection: object | None = None) -> bool:
        """Write it in the transaction of ``connection``, else at once; False if ``version`` is not the last one."""
        if connection is None:
            with self._database.autocommit() as own:
                return self._kept(own, envelope, version)
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        return self._kept(connection, envelope, version)

    def forget(self, job_id: str) -> None:
        with self._database.autocommit() as connection:
            connection.execute(self._forget, {"of_job": job_id})
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + BETWEEN
            self.prune()

    def prune(self) -> int:
        """Forget some of those that nobody has gone on with for long; how many there were."""
        with self._database.begin() as connection:
            old = list(connection.execute(self._old, {"age": -self._keep}).scalars())
            if old:
                connection.execute(self._forget_all, {"listed": old})
        return len(old)

    def _kept(self, connection: Connection, envelope: Envelope, version: int) -> bool:
        if not version:
            first = {"job_id": envelope.id, "tenant": envelope.tenant_id or "", "name": envelope.name}
            connection.execute(self._first, first)
        text = msgspec.json.encode(envelope.bookmark).decode()
        row = {"of_job": envelope.id, "after_version": version, "as_text": text}
        return connection.execute(self._next, row).rowcount == 1

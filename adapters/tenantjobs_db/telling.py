"""The progress of jobs: told at any time, written now and then, and readable while the job runs."""

from __future__ import annotations

import threading

from sqlalchemy import bindparam, delete, exists, select, update

from tenantjobs.progress import Progress
from tenantjobs_db.database import Database
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import jobs, progress

INTERVAL = 1.0  # seconds between two looks at what jobs have told


class Telling:
    """Takes note at once, for the job must not wait; ``write`` is called by others, and has only the last of many."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        now = dialect.now()
        self._database = database
        self._lock = threading.Lock()
        self._told: dict[str, tuple[Claimed, Progress]] = {}
        self._update = (
            update(progress)
            .where(progress.c.job_id == bindparam("told_id"))
            .values(done=bindparam("told_done"), total=bindparam("told_total"), told_at=now)
        )
        # Not for a job that is gone: its worker has been late, and what it tells would be nobody's.
        given = [bindparam(name, type_=progress.c[name].type) for name in ("job_id", "tenant", "done", "total")]
        self._insert = dialect.insert_new(progress).from_select(
            ["job_id", "tenant", "done", "total", "told_at"],
            dialect.row([*given, now]).where(exists().where(jobs.c.id == given[0])),
        )
        self._read = select(progress.c.done, progress.c.total).where(progress.c.job_id == bindparam("told_id"))
        self._forget = delete(progress).where(~exists().where(jobs.c.id == progress.c.job_id))

    def tell(self, claim: Claimed, told: Progress) -> None:
        """Remember it until it is written."""
        with self._lock:
            self._told[claim.id] = claim, told

    def write(self) -> None:
        """Write what was told since the last time; after an error it is still there to be written."""
        with self._lock:
            told = dict(self._told)
        if not told:
            return
        with self._database.begin() as connection:
            for job_id in sorted(told):  # in one order everywhere, so that two processes never wait for each other
                claim, news = told[job_id]
                values = {"told_id": job_id, "told_done": news.done, "told_total": news.total}
                if connection.execute(self._update, values).rowcount == 0:
                    row = {"job_id": job_id, "tenant": claim.tenant, "done": news.done, "total": news.total}
                    connection.execute(self._insert, row)
        with self._lock:
            for job_id, written in told.items():
                if self._told.get(job_id) is written:  # else there is news already
                    del self._told[job_id]

    def read(self, job_id: str) -> Progress | None:
        """What is written of a job."""
        with self._database.autocommit() as connection:
            row = connection.execute(self._read, {"told_id": job_id}).first()
        return None if row is None else Progress(row.done, row.total)

    def prune(self) -> None:
        """Forget the progress of jobs that are forgotten."""
        with self._database.begin() as connection:
            connection.execute(self._forget)

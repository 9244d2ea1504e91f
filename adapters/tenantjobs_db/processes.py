"""The processes that work on the queue. A process's row is the lease of everything that it has claimed."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, exists, insert, select, update

from tenantjobs.envelope import new_id
from tenantjobs_db.calling import Calling
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.limiting import Limiting
from tenantjobs_db.tables import CLAIMED, FAILED, READY, failures, in_state, jobs, processes

BATCH = 500


class Reaped(msgspec.Struct, frozen=True):
    """What became of the jobs of dead processes."""

    given_back: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Processes:
    """Registration, heartbeats and the reaping of the dead, all by the clock of the database."""

    def __init__(self, database: Database, *, lease: float, max_deaths: int) -> None:
        now = database.dialect.now()
        expires_at = database.dialect.after(seconds("lease"))
        self._database = database
        self._lease = lease
        self._max_deaths = max_deaths
        self._limiting = Limiting(database)
        self._calling = Calling(database.dialect)
        self._register = insert(processes).values(started_at=now, expires_at=expires_at)
        self._beat = update(processes).where(processes.c.id == bindparam("process")).values(expires_at=expires_at)
        self._known = select(processes.c.id).where(processes.c.id == bindparam("process"))
        self._leave = delete(processes).where(processes.c.id == bindparam("process"))
        self._expired = database.dialect.skip_locked(
            select(processes.c.id).where(processes.c.expires_at < now, processes.c.id != bindparam("own")), processes
        )
        self._orphaned = database.dialect.skip_locked(
            select(jobs.c.id, jobs.c.tenant, jobs.c.attempt, jobs.c.deaths, jobs.c.fence, jobs.c.claimed_by)
            .where(in_state(CLAIMED), ~exists().where(processes.c.id == jobs.c.claimed_by))
            .order_by(jobs.c.id)
            .limit(bindparam("batch")),
            jobs,
        )
        orphan = update(jobs).where(jobs.c.id == bindparam("job_id")).values(deaths=jobs.c.deaths + 1)
        self._give_back = orphan.values(state=READY, claimed_by=None)
        self._fail = orphan.values(state=FAILED, claimed_by=None, finished_at=now)
        self._record = insert(failures).values(failed_at=now)

    def register(self, kind: str, process: str | None = None) -> str:
        """Make this process known; its id, under which it claims: ``process`` if its supervisor has chosen one."""
        process = process or new_id()
        row = {"id": process, "kind": kind, "host": socket.gethostname(), "pid": os.getpid(), "lease": self._lease}
        with self._database.begin() as connection:
            connection.execute(self._register, row)
        return process

    def beat(self, process: str) -> bool:
        """Renew the lease. False if the process was given up, and its jobs with it."""
        with self._database.begin() as connection:
            return connection.execute(self._beat, {"process": process, "lease": self._lease}).rowcount == 1

    def known(self, process: str) -> bool:
        """Whether the process still stands in the books, so that nobody else has been given its jobs."""
        with self._database.autocommit() as connection:
            return connection.execute(self._known, {"process": process}).first() is not None

    def leave(self, process: str) -> None:
        """Say goodbye. What the process has not settled by now goes back as if it had died."""
        with self._database.begin() as connection:
            connection.execute(self._leave, {"process": process})

    def reap(self, own: str = "") -> Reaped:
        """Take the jobs of dead processes over: back to ready, or failed if too many have died with them.

        One rule covers every way to die: a claimed job without a living process is nobody's. Any number of reapers
        may be at it at the same time.
        """
        with self._database.begin() as connection:
            for expired in connection.execute(self._expired, {"own": own}).scalars().all():
                connection.execute(self._leave, {"process": expired})
            orphans: Sequence[Any] = connection.execute(self._orphaned, {"batch": BATCH}).all()
            given_back = [orphan for orphan in orphans if orphan.deaths < self._max_deaths]
            failed = [orphan for orphan in orphans if orphan.deaths >= self._max_deaths]
            if given_back:
                connection.execute(self._give_back, [{"job_id": orphan.id} for orphan in given_back])
                self._calling.call(connection, _ids(given_back))
            if failed:
                connection.execute(self._fail, [{"job_id": orphan.id} for orphan in failed])
                connection.execute(self._record, [_obituary(orphan) for orphan in failed])
            if orphans:
                self._limiting.buried(connection, [(orphan.id, orphan.fence) for orphan in orphans])
        return Reaped(_ids(given_back), _ids(failed))


def _obituary(orphan: Any) -> dict[str, Any]:
    return {
        "job_id": orphan.id,
        "tenant": orphan.tenant,
        "attempt": orphan.attempt,
        "error_class": "tenantjobs_db.ProcessDied",
        "message": (
            f"{orphan.deaths + 1} worker processes died or fell silent while they ran this job; the last one was "
            f"{orphan.claimed_by}. It is not tried again by itself: look for a crash, a kill for memory or a lease "
            f"that is too short, then retry it by hand"
        ),
        "traceback": "",
        "retried": False,
    }


def _ids(orphans: Sequence[Any]) -> tuple[str, ...]:
    return tuple(orphan.id for orphan in orphans)

"""What a worker process serves, for others to know: its queues, its slots, and whether it knows of several tenants."""

from __future__ import annotations

import json
import time

from sqlalchemy import bindparam, delete, exists, func, select, update

from tenantjobs.adapter import WorkOptions
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.lease import Lease
from tenantjobs_db.rooms import REMEMBERED_FOR, Reserve
from tenantjobs_db.tables import processes, serving

INTERVAL = 1.0  # seconds between two looks
TOLD_AGAIN = 60.0  # seconds after which it is told anew that there are several tenants


class Serving:
    """Tells the others, and hears from them. A tenant that one process has met is counted with by all of them."""

    def __init__(self, database: Database, lease: Lease, options: WorkOptions, reserve: Reserve) -> None:
        dialect = database.dialect
        self._database = database
        self._lease = lease
        self._row = {"queues": json.dumps(list(options.queues)), "slots": options.threads}
        self._reserve = reserve
        self._told: str | None = None
        self._told_of_several = -TOLD_AGAIN
        own = serving.c.process == bindparam("of_process")
        self._enter = dialect.insert_new(serving)
        self._of_several = update(serving).where(own).values(several_at=dialect.now())
        self._forget_dead = delete(serving).where(~exists().where(processes.c.id == serving.c.process))
        self._heard = select(func.count()).where(
            serving.c.several_at > dialect.after(seconds("since")), serving.c.process != bindparam("of_process")
        )

    def tell(self) -> None:
        """One look: what we are is written when it has changed, what others know is read."""
        process = self._lease.process
        now = time.monotonic()
        if self._told != process:
            with self._database.begin() as connection:
                connection.execute(self._forget_dead)
                connection.execute(self._enter, {"process": process, **self._row})
            self._told, self._told_of_several = process, -TOLD_AGAIN
        if self._reserve.met_several_within(TOLD_AGAIN) and now - self._told_of_several >= TOLD_AGAIN:
            with self._database.begin() as connection:
                connection.execute(self._of_several, {"of_process": process})
            self._told_of_several = now
        wish = {"of_process": process, "since": -REMEMBERED_FOR}
        with self._database.autocommit() as connection:
            self._reserve.heard_of_several = connection.execute(self._heard, wish).scalar_one() > 0

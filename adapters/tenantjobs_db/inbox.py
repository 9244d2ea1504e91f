"""The inbox in the application's database: the ids of jobs, written in the transactions that had their effect."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.exc import DBAPIError

from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_db.closing import insert_unless_buried, refuse_buried
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import seconds
from tenantjobs_db.queue import BATCH
from tenantjobs_db.refusing import is_missing
from tenantjobs_db.tables import inbox


class DatabaseInbox:
    """One row for each job, for ``keep`` seconds: longer than any queue takes to deliver a message again."""

    def __init__(self, database: Database, joins: Callable[[object], bool], *, keep: float) -> None:
        dialect = database.dialect
        self.joins = joins
        self._database = database
        self._keep = keep
        self._has = select(inbox.c.id).where(inbox.c.id == bindparam("job_id"))
        self._add = insert_unless_buried(
            dialect,
            inbox,
            [inbox.c.id, inbox.c.tenant, inbox.c.name],
            {"done_at": dialect.now()},
            counted=inbox.c.done_at,
        )
        self._old = dialect.skip_locked(
            select(inbox.c.id).where(inbox.c.done_at < dialect.after(seconds("age"))).limit(BATCH), inbox
        )
        self._forget = delete(inbox).where(inbox.c.id.in_(bindparam("listed", expanding=True)))

    def has(self, connection: object, envelope: Envelope) -> bool:
        """True if the job has had its effect."""
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        try:
            return connection.execute(self._has, {"job_id": envelope.id}).first() is not None
        except DBAPIError as error:
            if not is_missing(error):
                raise
            raise ConfigurationError(
                f"job {envelope.name} is transactional, and the application's database has no inbox to note it in "
                f"({error.orig}); run `tenantjobs db upgrade`"
            ) from error

    def add_within(self, connection: object, envelope: Envelope) -> bool:
        """Note the job in the transaction of ``connection``; False if another has noted it meanwhile."""
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        row = {"id": envelope.id, "tenant": envelope.tenant_id or "", "name": envelope.name}
        if connection.execute(self._add, row).rowcount == 1:
            return True
        refuse_buried(connection, [row["tenant"]])
        return False

    def prune(self) -> int:
        """Forget some of the jobs that are old enough; how many there were."""
        with self._database.begin() as connection:
            old = list(connection.execute(self._old, {"age": -self._keep}).scalars())
            if old:
                connection.execute(self._forget, {"listed": old})
        return len(old)

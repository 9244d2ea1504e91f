"""The bookmarks of jobs under way, written into their rows."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from tenantjobs.bookmark import Bookmark
from tenantjobs.envelope import Envelope
from tenantjobs.errors import LeaseLost
from tenantjobs_db.database import Database
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import jobs


class Marking:
    """Whoever takes a job over after a crash goes on from what was written here."""

    def __init__(self, database: Database) -> None:
        self._database = database
        ours = (
            jobs.c.id == bindparam("marked_id"),
            jobs.c.fence == bindparam("marked_fence"),
            jobs.c.claimed_by == bindparam("marked_by"),
        )
        self._mark = update(jobs).where(*ours).values(data=bindparam("data"))
        # Locked: a transaction of which only the answer was lost may still be about to commit.
        self._kept = select(jobs.c.data).where(*ours).with_for_update()

    def mark_within(self, connection: object, claim: Claimed, envelope: Envelope) -> None:
        """Write it in the transaction of ``connection``; LeaseLost if the job is another worker's by now."""
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        row = _ours(claim) | {"data": envelope.encode().decode()}
        if connection.execute(self._mark, row).rowcount != 1:
            raise LeaseLost(f"{claim} belongs to another worker by now")

    def mark(self, claim: Claimed, envelope: Envelope) -> None:
        """The same in a transaction of its own."""
        with self._database.autocommit() as connection:
            self.mark_within(connection, claim, envelope)

    def kept(self, claim: Claimed) -> Bookmark | None:
        """What was written last; LeaseLost if the job is another worker's by now."""
        with self._database.begin() as connection:
            data = connection.execute(self._kept, _ours(claim)).scalar_one_or_none()
        if data is None:
            raise LeaseLost(f"{claim} belongs to another worker by now")
        return Envelope.decode(data).bookmark


def _ours(claim: Claimed) -> dict[str, object]:
    return {"marked_id": claim.id, "marked_fence": claim.fence, "marked_by": claim.process}

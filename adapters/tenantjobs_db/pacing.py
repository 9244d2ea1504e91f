"""Jobs with a rate: which of those that were claimed start now, and which are put aside until their moment.

Decided after the permits of limits, so that no start is counted for a job that is blocked. Those behind it in the line
of its tenant that want the same are put aside with it: they would be claimed in vain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from tenantjobs import definition, rates
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError
from tenantjobs.rates import Start
from tenantjobs_db.database import Database
from tenantjobs_db.ledger import stored
from tenantjobs_db.limiting import AT_ONCE, Limiting
from tenantjobs_db.permits import Overtaken
from tenantjobs_db.rates import DatabaseRates
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import BLOCKED, READY, in_state, jobs
from tenantjobs_db.waiting import Waiting

PREFIX = "rate "  # of the keys of these lines; those of limits are JSON


class Paced(msgspec.Struct, frozen=True):
    """A job and the start that it wants."""

    start: Start
    priority: int

    def noted(self) -> dict[str, Any]:
        return {
            "job_id": self.start.owner,
            "key": PREFIX + stored(self.start.key),
            "tenant": self.start.tenant,
            "priority": self.priority,
            "permits": 0,
        }


class Pacing:
    """What stands between a permit and a start."""

    def __init__(self, database: Database, limiting: Limiting) -> None:
        dialect = database.dialect
        self._database = database
        self._limiting = limiting
        self._rates = DatabaseRates(database)
        self._waiting = Waiting(dialect)
        self._put_aside = (
            update(jobs)
            .where(
                jobs.c.id == bindparam("job_id"),
                jobs.c.fence == bindparam("of_fence"),
                jobs.c.claimed_by == bindparam("process"),
            )
            .values(state=BLOCKED, claimed_by=None)
        )
        self._line = dialect.skip_locked(
            select(jobs.c.id, jobs.c.name, jobs.c.data)
            .where(in_state(READY), jobs.c.queue == bindparam("of_queue"), jobs.c.tenant == bindparam("of_tenant"))
            .order_by(jobs.c.priority, jobs.c.id)
            .limit(AT_ONCE),
            jobs,
        )

    def admitted(self, claims: Sequence[Claimed]) -> list[Claimed]:
        """Those that start now; the others are blocked by the time this returns."""
        paced = {claim.id: wants for claim in claims if (wants := _paced(claim.name, claim.data)) is not None}
        if not paced:
            return list(claims)
        early = self._early(claims, paced)
        return [claim for claim in claims if claim.id not in early]

    def _early(self, claims: Sequence[Claimed], paced: Mapping[str, Paced]) -> Mapping[str, float]:
        while True:
            try:
                with self._database.begin() as connection:
                    early = self._rates.start_within(connection, [wants.start for wants in paced.values()])
                    if early:
                        self._block(connection, [claim for claim in claims if claim.id in early], paced)
                    return early
            except Overtaken:
                continue

    def _block(self, connection: Connection, claims: Sequence[Claimed], paced: Mapping[str, Paced]) -> None:
        held = [
            claim
            for claim in sorted(claims, key=lambda claim: claim.id)
            if connection.execute(self._put_aside, _claim(claim)).rowcount == 1
        ]
        self._limiting.settled(connection, held)
        full = {paced[claim.id].start.key for claim in claims}
        behind: dict[str, Paced] = {}
        for queue, tenant in sorted({(claim.queue, claim.tenant) for claim in claims}):
            for row in connection.execute(self._line, {"of_queue": queue, "of_tenant": tenant}):
                wants = _paced(row.name, row.data)
                if wants is not None and wants.start.key in full:
                    behind[row.id] = wants
        self._waiting.put_aside(connection, list(behind))
        self._waiting.note(connection, [paced[claim.id].noted() for claim in held])
        self._waiting.note(connection, [wants.noted() for wants in behind.values()])


def rate_of(key: str) -> str | None:
    """The stored key of the rate that the jobs of a line wait for; None for a line of another kind."""
    return key.removeprefix(PREFIX) if key.startswith(PREFIX) else None


def _paced(name: str, data: str) -> Paced | None:
    """None for a job without a rate, or one that was enqueued before it had one."""
    job = definition.lookup(name)
    policy = None if job is None else job.rate
    if policy is None:
        return None
    try:
        envelope = Envelope.decode(data)
    except EnvelopeError:
        return None  # the door puts it in quarantine
    if rates.KEY not in envelope.keys:
        return None
    return Paced(rates.start(policy, envelope), envelope.priority)


def _claim(claim: Claimed) -> dict[str, Any]:
    return {"job_id": claim.id, "of_fence": claim.fence, "process": claim.process}

"""Jobs with a rate: which of those that were claimed start now, and which are put aside until their moment.

Decided after the permits of limits, so that no start is counted for a job that is blocked. Those behind it in the line
of its tenant that want the same are put aside with it: they would be claimed in vain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

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
        self._database = database
        self._limiting = limiting
        self._rates = DatabaseRates(database)
        self._waiting = Waiting(database.dialect)

    def admitted(self, claims: Sequence[Claimed]) -> list[Claimed]:
        """Those that start now; the others are blocked by the time this returns."""
        if not any(map(_may_be_paced, {claim.name for claim in claims})):
            return list(claims)  # hundreds of jobs have few names
        paced = {claim.id: wants for claim in claims if (wants := _paced(claim.name, claim.data)) is not None}
        if not paced:
            return list(claims)
        early = self._early(claims, paced)
        return [claim for claim in claims if claim.id not in early]

    def _early(self, claims: Sequence[Claimed], paced: Mapping[str, Paced]) -> Mapping[str, float]:
        def start(connection: Connection) -> Mapping[str, float]:
            early = self._rates.start_within(connection, [wants.start for wants in paced.values()])
            if early:
                self._block(connection, [claim for claim in claims if claim.id in early], paced)
            return early

        while True:
            try:
                return self._database.run(start)
            except Overtaken:
                continue

    def _block(self, connection: Connection, claims: Sequence[Claimed], paced: Mapping[str, Paced]) -> None:
        ours = self._waiting.block(connection, claims)
        held = [claim for claim in claims if claim.id in ours]
        self._limiting.settled(connection, held)
        full = {paced[claim.id].start.key for claim in claims}
        behind: dict[str, Paced] = {}
        for queue, tenant in sorted({(claim.queue, claim.tenant) for claim in claims}):
            for row in self._waiting.line(connection, queue, tenant, AT_ONCE):
                wants = _paced(row.name, row.data)
                if wants is not None and wants.start.key in full:
                    behind[row.id] = wants
        self._waiting.put_aside(connection, list(behind))
        self._waiting.note(connection, [paced[claim.id].noted() for claim in held])
        self._waiting.note(connection, [wants.noted() for wants in behind.values()])


def rate_of(key: str) -> str | None:
    """The stored key of the rate that the jobs of a line wait for; None for a line of another kind."""
    return key.removeprefix(PREFIX) if key.startswith(PREFIX) else None


def _may_be_paced(name: str) -> bool:
    job = definition.lookup(name)
    return job is not None and job.rate is not None


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

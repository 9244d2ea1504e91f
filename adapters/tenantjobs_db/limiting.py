"""Limited jobs of the queue: which of those that were claimed may start, and which are let out when one has ended.

The claim knows nothing of limits. What it has claimed goes through here: jobs without a limit untouched, the others
with a permit, or they are put aside as blocked, out of the way of further claims. Whoever settles a job gives its
permit back in the same transaction, and makes the next one ready that waits for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, select

from tenantjobs import definition
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError
from tenantjobs.limits import KEY, limits_concurrency, request
from tenantjobs.permits import Grant, Request
from tenantjobs_db.database import Database
from tenantjobs_db.ledger import stored
from tenantjobs_db.permits import DatabasePermits, Overtaken
from tenantjobs_db.settlement import Claimed
from tenantjobs_db.tables import permits
from tenantjobs_db.waiting import Waiting

AT_ONCE = 200  # jobs of a line that are looked at when one of them is blocked


class Wanting(NamedTuple):
    """A claim, and the permit that it wants."""

    claim: Claimed
    policy: limits_concurrency
    priority: int
    request: Request

    @property
    def gives_up(self) -> bool:
        """True if it is discarded rather than blocked. One that has started before is not given up in the middle."""
        return self.policy.on_conflict == "discard" and self.claim.fence == 1 and self.claim.attempt == 0


class Limiting:
    """What stands between a claim and its start."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._permits = DatabasePermits(database)
        self._waiting = Waiting(database.dialect)
        self._held_by = select(permits.c.key, permits.c.owner, permits.c.token).where(
            permits.c.owner.in_(bindparam("owners", expanding=True))
        )

    def admitted(self, claims: Sequence[Claimed]) -> list[Claimed]:
        """Those that may start, limited ones with their permit; the others are blocked by the time this returns.

        One that is to be discarded comes without a permit, which the door decides about.
        """
        if not any(map(_may_be_limited, {claim.name for claim in claims})):
            return list(claims)  # hundreds of jobs have few names
        wanting = {claim.id: wants for claim in claims if (wants := _wanting(claim)) is not None}
        if not wanting:
            return list(claims)
        since = time.monotonic()
        refused = self._refused(wanting)
        return [
            msgspec.structs.replace(claim, grant=Grant(wanting[claim.id].request, since))
            if claim.id in wanting and claim.id not in refused
            else claim
            for claim in claims
            if claim.id not in refused or wanting[claim.id].gives_up
        ]

    def taken_over(self, claim: Claimed) -> Claimed | None:
        """The claim in the hands of another process, with the permit that it has; None if that has ended meanwhile.

        One that is to be discarded comes without a permit, as it does from ``admitted``.
        """
        wants = _wanting(claim)
        if wants is None:
            return claim
        since = time.monotonic()
        if self._permits.renew(wants.request):
            return msgspec.structs.replace(claim, grant=Grant(wants.request, since))
        return claim if wants.gives_up else None

    def _refused(self, wanting: Mapping[str, Wanting]) -> set[str]:
        """The ids of those without a permit, which are blocked unless they give up."""

        def take(connection: Connection) -> set[str]:
            wanted = [wants.request for wants in wanting.values()]
            refused = {request.owner for request in self._permits.take_within(connection, wanted)}
            aside = [wanting[owner] for owner in refused if not wanting[owner].gives_up]
            if aside:
                self._block(connection, aside)
            return refused

        while True:
            try:
                return self._database.run(take)
            except Overtaken:
                continue

    def settled(self, connection: Connection, claims: Iterable[Claimed]) -> int:
        """Give back what these claims had, in the transaction that settles them; how many others that let out."""
        given = [claim.grant.request for claim in claims if claim.grant is not None]
        if given:
            self._permits.give_back(given, connection)
        return self._let_out_of(connection, Counter(stored(request.key) for request in given))

    def buried(self, connection: Connection, claims: Sequence[tuple[str, int]]) -> None:
        """The same for the claims of dead processes, by the ids and the fences of the jobs."""
        tokens = {token(job_id, fence) for job_id, fence in claims}
        held = connection.execute(self._held_by, {"owners": [job_id for job_id, _ in claims]}).all()
        dead = [row for row in held if row.token in tokens]
        if dead:
            self._permits.give_back([Request(row.key, 1, "", row.owner, row.token, 0) for row in dead], connection)
            self._let_out_of(connection, Counter(row.key for row in dead))

    def let_out(self, connection: Connection, key: str, count: int) -> int:
        """Make up to ``count`` jobs ready that wait for permits of the stored ``key``; how many there were."""
        return self._waiting.let_out(connection, key, count)

    def _let_out_of(self, connection: Connection, freed: Counter[str]) -> int:
        return sum(self.let_out(connection, key, freed[key]) for key in sorted(freed))

    def _block(self, connection: Connection, aside: Sequence[Wanting]) -> None:
        """Put these aside, and those behind them in their lines that want the same: they would be claimed in vain."""
        ours = self._waiting.block(connection, [wants.claim for wants in aside])
        held = [wants for wants in aside if wants.claim.id in ours]
        full = {wants.request.key: wants.request.of for wants in aside}
        behind: dict[str, Wanting] = {}
        for queue, tenant in sorted({(wants.claim.queue, wants.claim.tenant) for wants in aside}):
            for row in self._waiting.line(connection, queue, tenant, AT_ONCE):
                wants = _wanting(Claimed(row.id, row.fence + 1, "", queue, row.name, row.tenant, row.attempt, row.data))
                if wants is not None and not wants.gives_up and wants.request.of <= full.get(wants.request.key, 0):
                    behind[row.id] = wants
        self._waiting.put_aside(connection, list(behind))
        self._waiting.note(connection, [_noted(wants) for wants in (*held, *behind.values())])


def token(job_id: str, fence: int) -> str:
    """What the permit of a claim is known by."""
    return f"{job_id}:{fence}"


def _may_be_limited(name: str) -> bool:
    job = definition.lookup(name)
    return job is not None and job.limit is not None


def _wanting(claim: Claimed) -> Wanting | None:
    """None for a job without a limit, or one that was enqueued before it had one."""
    job = definition.lookup(claim.name)
    policy = None if job is None else job.limit
    if policy is None:
        return None
    try:
        envelope = Envelope.decode(claim.data)
    except EnvelopeError:
        return None  # the door puts it in quarantine
    if KEY not in envelope.keys:
        return None
    return Wanting(claim, policy, envelope.priority, request(policy, envelope, token(claim.id, claim.fence)))


def _noted(wants: Wanting) -> dict[str, Any]:
    return {
        "job_id": wants.claim.id,
        "key": stored(wants.request.key),
        "tenant": wants.claim.tenant,
        "priority": wants.priority,
        "permits": wants.request.of,
    }

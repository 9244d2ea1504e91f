"""What must be true in the end, whatever was killed in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from examples.shop.demo.evidence import Evidence, Record
from examples.shop.demo.receiver import Arrival

OPEN = ("ready", "scheduled", "claimed")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, the numbers behind it, and what speaks against it."""

    claim: str
    numbers: str
    against: Sequence[str]

    @property
    def holds(self) -> bool:
        return not self.against


def prove(evidence: Evidence) -> list[Proof]:
    """Every proof, in the order in which they are shown."""
    claims = (answered_as_recorded, nothing_lost, nothing_rolled_back, no_wrong_tenant, one_effect)
    return [claim(evidence) for claim in claims]


def answered_as_recorded(evidence: Evidence) -> Proof:
    statuses = Counter(answer.status for answer in evidence.answers)
    return Proof(
        claim="every request was answered as recorded",
        numbers=", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items())),
        against=[
            f"request {answer.request.id} was answered {answer.status}, not {answer.request.answer}"
            for answer in evidence.answers
            if answer.status != answer.request.answer
        ],
    )


def nothing_lost(evidence: Evidence) -> Proof:
    ends = Counter(record.status for record in evidence.records)
    left = sum(job.state in OPEN for job in evidence.jobs)
    return Proof(
        claim="every committed delivery was delivered, failed with its error, or refused for an account gone",
        numbers=f"{len(evidence.committed):,} committed = {ends['delivered']:,} delivered + {ends['failed']:,} failed "
        f"+ {ends['refused']:,} refused; {left:,} left in the queue",
        against=[*_lost(evidence), *_unsettled(evidence)],
    )


def nothing_rolled_back(evidence: Evidence) -> Proof:
    rolled_back = evidence.rolled_back
    records = [record.request_id for record in evidence.records if record.request_id in rolled_back]
    jobs = [id for id in rolled_back for job in evidence.jobs if f'"{id}"' in job.data]
    arrivals = [id for arrival in evidence.arrivals if (id := arrival.headers["x-request-id"]) in rolled_back]
    return Proof(
        claim="nothing came of a request that was rolled back",
        numbers=f"{len(rolled_back):,} rolled back: {len(records):,} deliveries, {len(jobs):,} jobs, "
        f"{len(arrivals):,} arrivals of them",
        against=[f"request {id} was rolled back, and left traces" for id in {*records, *jobs, *arrivals}],
    )


def no_wrong_tenant(evidence: Evidence) -> Proof:
    wrong = [arrival for arrival in evidence.arrivals if not _is_the_owners(evidence, arrival)]
    return Proof(
        claim="no delivery under a wrong tenant: each was signed with the secret of its own account",
        numbers=f"{len(evidence.arrivals):,} arrivals, {len(wrong):,} with a foreign secret or name",
        against=[f"delivery {arrival.delivery} reached {arrival.path} in the name of another" for arrival in wrong],
    )


def one_effect(evidence: Evidence) -> Proof:
    effects = Counter(arrival.delivery for arrival in evidence.arrivals if arrival.effect)
    keys = {(arrival.path, arrival.key) for arrival in evidence.arrivals if arrival.effect}
    accepted = [arrival for arrival in evidence.arrivals if arrival.answer == 200]
    committed = evidence.committed
    delivered = [record.id for record in evidence.records if record.status == "delivered"]
    return Proof(
        claim="every delivery had its effect once, however often it arrived",
        numbers=f"{len(evidence.arrivals):,} arrivals, {len(accepted):,} accepted: {effects.total():,} effects "
        f"of {len(keys):,} keys, {len(accepted) - effects.total():,} duplicates without effect",
        against=[
            *(f"delivery {id} is delivered, and had no effect" for id in delivered if not effects[id]),
            *(f"delivery {id} had an effect, and was never committed" for id in effects.keys() - committed.keys()),
            *(f"delivery {id} had {count} effects" for id, count in effects.items() if count > 1),
        ],
    )


def _lost(evidence: Evidence) -> Iterator[str]:
    """What is missing on one side or the other: to a delivery belongs a customer who was told of it, and a job."""
    committed = evidence.committed
    jobs = {job.id for job in evidence.jobs}
    yield from (f"delivery {id} is in no table" for id in committed.keys() - {record.id for record in evidence.records})
    for record in evidence.records:
        if record.id not in committed:
            yield f"delivery {record.id} is in the table, and no customer was told of it"
        if record.job_id not in jobs:
            yield f"delivery {record.id} of {record.tenant_id} has lost its job {record.job_id}"
    for id in jobs - {record.job_id for record in evidence.records}:
        yield f"job {id} belongs to no delivery"


def _unsettled(evidence: Evidence) -> Iterator[str]:
    for record in evidence.records:
        if not _is_settled(evidence, record):
            yield f"delivery {record.id} of {record.tenant_id} ended {record.status}: {record.error}"
    for job in evidence.jobs:
        if job.state in OPEN:
            yield f"job {job.id} is still {job.state}"


def _is_settled(evidence: Evidence, record: Record) -> bool:
    if record.status == "failed":
        return bool(record.error)
    elif record.status == "refused":
        return record.tenant_id in evidence.closed and record.tenant_id not in evidence.accounts
    else:
        return record.status == "delivered"


def _is_the_owners(evidence: Evidence, arrival: Arrival) -> bool:
    """Four that must agree: whose server it is, whose secret has signed, who it says it is from, who has caused it."""
    owner = evidence.servers[arrival.path].account
    names = {arrival.headers["x-shop-account"], arrival.message["account"], evidence.committed.get(arrival.delivery)}
    return arrival.verified and names == {owner}

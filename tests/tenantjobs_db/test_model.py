"""The queue against a model of it: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenantjobs.envelope import Envelope
from tenantjobs_db import schema
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import own
from tenantjobs_db.dialect import SQLite
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Discard, Fail, Finish, GiveBack, Retry, Settlement
from tests.tenantjobs_db.making import claimed_without_owner, envelope, failure

LEASE = 60.0
MAX_DEATHS = 1
TENANTS = ["", "a", "b", "c"]


@dataclass
class Job:
    """What the model knows of a job."""

    envelope: Envelope
    state: str
    due_at: datetime | None = None
    attempt: int = 0
    deaths: int = 0
    fence: int = 0
    failures: int = 0
    claimed_by: str | None = None


@dataclass
class Process:
    id: str
    consumer: Consumer
    expires_at: datetime
    hand: list[Claimed] = field(default_factory=list)  # what it believes to have


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.database = own(f"sqlite:///{Path(self.folder.name) / 'queue.db'}", synchronous="NORMAL")
        assert isinstance(self.database.dialect, SQLite)
        self.database.dialect.clock = lambda: self.now
        schema.upgrade(self.database.engine)
        self.queue = Queue(self.database)
        self.processes = Processes(self.database, lease=LEASE, max_deaths=MAX_DEATHS)
        self.jobs: dict[str, Job] = {}
        self.workers: list[Process] = []
        self.living: dict[str, datetime] = {}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    @rule(
        tenant=st.sampled_from(TENANTS),
        priority=st.integers(-1, 1),
        wait=st.one_of(st.none(), st.integers(-5, 100)),
        count=st.integers(1, 3),
    )
    def enqueue(self, tenant: str, priority: int, wait: int | None, count: int) -> None:
        due_at = None if wait is None else self.now + timedelta(seconds=wait)
        jobs = [envelope(tenant or None, priority=priority, due_at=due_at) for _ in range(count)]
        state = "scheduled" if due_at is not None and due_at > self.now else "ready"
        self.queue.enqueue(jobs)
        for job in jobs:
            self.jobs[job.id] = Job(job, state, due_at)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def enqueue_again(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.jobs.values())))
        self.queue.enqueue([job.envelope])

    @rule()
    def start_a_worker(self) -> None:
        consumer = Consumer(self.database, Selection(["*"]))
        process = Process(self.processes.register("test"), consumer, self.now + timedelta(seconds=LEASE))
        self.workers.append(process)
        self.living[process.id] = process.expires_at

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), wanted=st.integers(1, 4))
    def claim(self, data: st.DataObject, wanted: int) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        claimed = worker.consumer.exchange(worker.id, (), wanted).claimed
        ready = [job for job in self.jobs.values() if job.state == "ready"]

        if worker.id not in self.living:
            assert claimed == []
            return
        assert min(wanted, len(ready)) == len(claimed)
        self._check_turns(ready, claimed)
        for claim in claimed:
            job = self.jobs[claim.id]
            job.state, job.claimed_by, job.fence = "claimed", worker.id, job.fence + 1
            assert (job.fence, job.attempt) == (claim.fence, claim.attempt)
        worker.hand += claimed

    def _check_turns(self, ready: list[Job], claimed: list[Claimed]) -> None:
        """The heads of each line, and no tenant two ahead of one that still waits."""
        shares = dict.fromkeys((job.envelope.tenant_id or "" for job in ready), 0)
        for tenant in shares:
            line = sorted(
                (job.envelope for job in ready if (job.envelope.tenant_id or "") == tenant),
                key=lambda job: (job.priority, job.id),
            )
            taken = {claim.id for claim in claimed if claim.tenant == tenant}
            assert {job.id for job in line[: len(taken)]} == taken
            shares[tenant] = len(taken)
        waiting = [
            share
            for tenant, share in shares.items()
            if share < sum((job.envelope.tenant_id or "") == tenant for job in ready)
        ]
        assert max(shares.values(), default=0) <= min(waiting, default=len(ready)) + 1

    @precondition(lambda self: any(worker.hand for worker in self.workers))
    @rule(data=st.data(), kind=st.sampled_from(["finish", "fail", "retry", "discard", "give back"]))
    def settle(self, data: st.DataObject, kind: str) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.hand]))
        claim = data.draw(st.sampled_from(worker.hand))
        worker.hand.remove(claim)
        job = self.jobs[claim.id]
        wait = data.draw(st.integers(-5, 50))
        charged = msgspec.structs.replace(job.envelope, attempt=claim.attempt + 1)
        verdicts: dict[str, Settlement] = {
            "finish": Finish(claim),
            "fail": Fail(claim, failure(), charged),
            "retry": Retry(claim, charged, wait, failure()),
            "discard": Discard(claim, "no use", failure()),
            "give back": GiveBack(claim),
        }

        refused = worker.consumer.exchange(worker.id, [verdicts[kind]]).refused

        ours = (job.claimed_by, job.fence) == (claim.process, claim.fence)
        assert (refused == []) is ours
        if ours:
            self._settled(job, kind, wait)

    def _settled(self, job: Job, kind: str, wait: int) -> None:
        job.claimed_by = None
        if kind == "give back":
            job.state = "ready"
            return
        job.attempt += 1
        job.failures += kind != "finish"
        if kind == "retry":
            job.state, job.due_at = ("scheduled" if wait > 0 else "ready"), self.now + timedelta(seconds=wait)
        else:
            job.state = {"finish": "finished", "fail": "failed", "discard": "discarded"}[kind]

    @rule(seconds=st.sampled_from([1, 10, 50, 70, 200]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def promote(self) -> None:
        due = [job for job in self.jobs.values() if job.state == "scheduled" and job.due_at and job.due_at <= self.now]

        assert self.queue.promote() == len(due)
        for job in due:
            job.state = "ready"

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))

        assert self.processes.beat(worker.id) is (worker.id in self.living)
        if worker.id in self.living:
            self.living[worker.id] = self.now + timedelta(seconds=LEASE)

    @rule()
    def reap(self) -> None:
        self.living = {process: until for process, until in self.living.items() if until >= self.now}
        orphans = {id for id, job in self.jobs.items() if job.state == "claimed" and job.claimed_by not in self.living}

        reaped = self.processes.reap()

        assert {*reaped.given_back, *reaped.failed} == orphans
        for job in (self.jobs[id] for id in orphans):
            job.deaths += 1
            job.claimed_by = None
            job.state = "ready" if job.deaths <= MAX_DEATHS else "failed"
            job.failures += job.state == "failed"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.jobs)))
        job = self.jobs[id]

        assert self.queue.cancel(id) is (job.state in ("ready", "scheduled"))
        if job.state in ("ready", "scheduled"):
            job.state = "discarded"

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "queue"):
            return
        for id, job in self.jobs.items():
            row = self.queue.find(id)
            assert row is not None
            assert (row.state, row.attempt, row.deaths, row.fence, row.claimed_by, row.due_at, len(row.failures)) == (
                job.state,
                job.attempt,
                job.deaths,
                job.fence,
                job.claimed_by,
                job.due_at,
                job.failures,
            )
        assert claimed_without_owner(self.database) == 0


QueueMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestQueueAgainstItsModel = QueueMachine.TestCase

"""The queue against a model of it: whatever is done in whatever order, both say the same.

With TENANTJOBS_STRESS it is tried in twenty times as many ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import bindparam, cast, delete, select

from tenantjobs import definition, job, limits_concurrency, limits_rate, rates
from tenantjobs.envelope import Envelope
from tenantjobs.errors import WrongState
from tenantjobs.limits import KEY
from tenantjobs.upkeep import Verb
from tenantjobs.view import JobFilter
from tenantjobs_db import tables
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.controls import Controls, Kind
from tenantjobs_db.database import Database, own
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.dialects.sqlite import SQLite
from tenantjobs_db.intervening import Intervening
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.releasing import Releasing
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Discard, Fail, Finish, GiveBack, Retry, Settlement
from tests.stress import STRESS
from tests.tenantjobs_db.conftest import EMPTIED
from tests.tenantjobs_db.making import envelope, failure

LEASE = 60.0
MAX_DEATHS = 1
TENANTS = ["", "a", "b", "c"]
QUEUES = ["default", "other"]
NAMES = ["noop", "report", "limited", "paced"]  # any of them may be paused, the last two are limited and have a rate
AT_ONCE = 2  # limited jobs of a tenant
STARTS, WINDOW = 2, 60  # of jobs with a rate, of a tenant; in so many seconds
TIMES = 20 if STRESS else 1


@dataclass
class Job:
    """What the model knows of a job. One that is blocked is ready here: put aside, and in nobody's way.

    So is one with a rate that waits for its moment, whichever that is.
    """

    envelope: Envelope
    state: str
    due_at: datetime | None = None
    attempt: int = 0
    deaths: int = 0
    fence: int = 0
    failures: int = 0
    claimed_by: str | None = None

    @property
    def tenant(self) -> str:
        return self.envelope.tenant_id or ""

    @property
    def is_limited(self) -> bool:
        return self.envelope.name == "limited"

    @property
    def is_paced(self) -> bool:
        return self.envelope.name == "paced"

    @property
    def place(self) -> tuple[int, str]:
        return self.envelope.priority, self.envelope.id


@dataclass
class Process:
    id: str
    consumer: Consumer
    hand: list[Claimed] = field(default_factory=list)  # what it believes to have


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    @initialize()
    def begin(self) -> None:
        self.registry = dict(definition.registry)

        @job(name="report")
        def report(number: int = 0) -> None: ...

        @job(name="limited", policies=[limits_concurrency(to=AT_ONCE, duration=timedelta(days=1))])
        def limited(number: int = 0) -> None: ...

        @job(name="paced", policies=[limits_rate(to=STARTS, per=WINDOW)])
        def paced(number: int = 0) -> None: ...

        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.database = own(self.url, synchronous="NORMAL")
        if isinstance(self.database.dialect, SQLite):
            self.database.dialect.clock = lambda: self.now
        else:
            let_tell(self.database.dialect, lambda: self.now)
        with self.database.begin() as connection:
            for table in EMPTIED:
                connection.execute(delete(table))
        self.queue = Queue(self.database)
        self.processes = Processes(self.database, lease=LEASE, max_deaths=MAX_DEATHS)
        self.controls = Controls(self.database)
        self.releasing = Releasing(self.database)
        self.intervening = Intervening(self.database)
        self.jobs: dict[str, Job] = {}
        self.workers: list[Process] = []
        self.living: dict[str, datetime] = {}
        self.paused: set[tuple[Kind, str]] = set()
        self.caps: dict[str, int] = {}
        self.starts: dict[str, list[datetime]] = {tenant: [] for tenant in TENANTS}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            definition.registry.clear()
            definition.registry.update(self.registry)

    # Jobs come, are taken back, and become due.
    @rule(
        tenant=st.sampled_from(TENANTS),
        name=st.sampled_from(NAMES),
        queue=st.sampled_from(QUEUES),
        priority=st.integers(-1, 1),
        wait=st.one_of(st.none(), st.integers(-5, 100)),
        count=st.integers(1, 3),
    )
    def enqueue(self, tenant: str, name: str, queue: str, priority: int, wait: int | None, count: int) -> None:
        due_at = None if wait is None else self.now + timedelta(seconds=wait)
        fields = {"name": name, "queue": queue, "priority": priority, "due_at": due_at}
        keys = {"limited": {KEY: f"limited {tenant}"}, "paced": {rates.KEY: f"paced {tenant}"}}.get(name, {})
        jobs = [envelope(tenant or None, keys=keys, **fields) for _ in range(count)]
        self.queue.enqueue(jobs)
        for each in jobs:
            self.jobs[each.id] = Job(each, "scheduled" if due_at is not None and due_at > self.now else "ready", due_at)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def enqueue_again(self, data: st.DataObject) -> None:
        self.queue.enqueue([data.draw(st.sampled_from(list(self.jobs.values()))).envelope])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.jobs)))
        waits = self.jobs[id].state in ("ready", "scheduled")

        assert self.queue.cancel(id) is waits
        if waits:
            self.jobs[id].state = "discarded"

    @rule(seconds=st.sampled_from([1, 10, 50, 70, 200]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def promote(self) -> None:
        due = [job for job in self.jobs.values() if job.state == "scheduled" and job.due_at and job.due_at <= self.now]

        more = sum(each.is_paced and each.state == "ready" for each in self.jobs.values())
        assert len(due) <= self.queue.promote() <= len(due) + more
        for each in due:
            each.state = "ready"

    # People decide about one.
    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def retry_by_hand(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.jobs)))
        each = self.jobs[id]

        if self._changed("retry", id, each.state == "failed"):
            each.due_at = max(self.now, each.due_at or self.now)
            each.state = "scheduled" if each.due_at > self.now else "ready"
            each.attempt = each.deaths = 0

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def discard_by_hand(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.jobs)))

        if self._changed("discard", id, self.jobs[id].state in ("ready", "scheduled", "failed")):
            self.jobs[id].state = "discarded"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def run_now(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.jobs)))
        each = self.jobs[id]
        waits_for_its_moment = each.is_paced and each.state == "ready"

        if self._changed("run_now", id, None if waits_for_its_moment else each.state == "scheduled"):
            each.state, each.due_at = "ready", self.now

    def _changed(self, verb: Verb, id: str, expected: bool | None) -> bool:
        """Whether it was done, which is ``expected``; None where the model cannot know."""
        changes = self.intervening.change(verb, JobFilter(ids=(id,)), after=None, limit=1, reason=None)
        done = [change.job.id for change in changes.changed] == [id]
        assert expected in (done, None)
        assert done or isinstance(changes.refused[id], WrongState)
        return done

    # Operators say something.
    @rule(data=st.data(), kind=st.sampled_from(["queue", "tenant", "job"]))
    def pause_or_resume(self, data: st.DataObject, kind: Kind) -> None:
        what = (kind, data.draw(st.sampled_from({"queue": QUEUES, "tenant": TENANTS[1:], "job": NAMES[1:]}[kind])))
        if what in self.paused:
            assert self.controls.resume(*what)
        else:
            assert self.controls.pause(*what)
        self.paused ^= {what}

    @rule(tenant=st.sampled_from(TENANTS[1:]), cap=st.one_of(st.none(), st.integers(1, 3)))
    def cap(self, tenant: str, cap: int | None) -> None:
        self.controls.set_cap(tenant, cap)
        self.caps.pop(tenant, None)
        if cap is not None:
            self.caps[tenant] = cap

    # Workers come, work, and go.
    @rule()
    def start_a_worker(self) -> None:
        process = Process(self.processes.register("test"), Consumer(self.database, Selection(["*"])))
        self.workers.append(process)
        self.living[process.id] = self.now + timedelta(seconds=LEASE)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), wanted=st.integers(1, 4))
    def claim(self, data: st.DataObject, wanted: int) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        self.releasing.release()  # as some worker does once a second
        claimed = worker.consumer.exchange(worker.id, (), wanted).claimed
        if len(claimed) < wanted:  # there may be queues that it did not know of
            claimed += worker.consumer.exchange(worker.id, (), wanted - len(claimed)).claimed

        if worker.id not in self.living:
            assert claimed == []
            return
        startable = self._startable()
        before = self._running()
        at_ease = [each for each in startable if not each.is_paced]
        assert min(wanted, self._most(at_ease, before)) <= len(claimed) <= min(wanted, self._most(startable, before))
        assert {claim.id for claim in claimed} <= {each.envelope.id for each in startable}
        self._check_lines(startable, {claim.id for claim in claimed}, before)
        self._check_turns(startable, claimed)
        for claim in claimed:
            each = self.jobs[claim.id]
            assert claim.fence == each.fence + 1 or (_may_wait(each) and claim.fence > each.fence)
            assert claim.attempt == each.attempt
            each.state, each.claimed_by, each.fence = "claimed", worker.id, claim.fence
            if each.is_paced:
                self.starts[each.tenant].append(self.now)
                assert self._recent_starts(each.tenant) <= STARTS
        worker.hand += claimed

    def _startable(self) -> list[Job]:
        """What is ready, and of nothing that is paused."""
        return [
            each
            for each in self.jobs.values()
            if each.state == "ready"
            and self.paused.isdisjoint(
                {("queue", each.envelope.queue), ("tenant", each.tenant), ("job", each.envelope.name)}
            )
        ]

    def _running(self, *, limited: bool = False) -> Counter[str]:
        """How many jobs of each tenant are claimed."""
        return Counter(
            each.tenant for each in self.jobs.values() if each.state == "claimed" and (each.is_limited or not limited)
        )

    def _most(self, startable: Iterable[Job], running: Mapping[str, int]) -> int:
        """How many may start within all caps and limits."""
        plain = Counter(each.tenant for each in startable if not (each.is_limited or each.is_paced))
        paced = Counter(each.tenant for each in startable if each.is_paced)
        limited = Counter(each.tenant for each in startable if each.is_limited)
        permits = self._running(limited=True)
        return sum(
            min(
                plain[tenant]
                + min(limited[tenant], AT_ONCE - permits[tenant])
                + min(paced[tenant], STARTS - self._recent_starts(tenant)),
                max(0, self.caps.get(tenant, len(self.jobs)) - running[tenant]),
            )
            for tenant in TENANTS
        )

    def _recent_starts(self, tenant: str) -> int:
        return sum(moment > self.now - timedelta(seconds=WINDOW) for moment in self.starts[tenant])

    def _check_lines(self, startable: Iterable[Job], taken: set[str], before: Mapping[str, int]) -> None:
        """Caps and limits hold, and in each line none has gone before another that might have started as well."""
        permits = self._running(limited=True)
        permits.update(each.tenant for each in startable if each.is_limited and each.envelope.id in taken)
        for tenant in TENANTS:
            ours = [each for each in startable if each.tenant == tenant]
            count = sum(each.envelope.id in taken for each in ours)
            assert not count or before[tenant] + count <= self.caps.get(tenant, len(self.jobs))
            assert permits[tenant] <= AT_ONCE
            for queue in QUEUES:
                line = sorted((each for each in ours if each.envelope.queue == queue), key=lambda each: each.place)
                line = [each for each in line if not each.is_paced or each.envelope.id in taken]
                if permits[tenant] == AT_ONCE:  # those that were not taken could not start
                    _assert_heads([each for each in line if each.is_limited], taken)
                    line = [each for each in line if not each.is_limited or each.envelope.id in taken]
                _assert_heads(line, taken)

    def _check_turns(self, startable: Iterable[Job], claimed: Iterable[Claimed]) -> None:
        """No tenant is two ahead of one that still waits, where nothing but their turns decides."""
        if self.caps or len({each.envelope.queue for each in startable}) != 1 or any(map(_may_wait, startable)):
            return
        shares = Counter(claim.tenant for claim in claimed)
        ready = Counter(each.tenant for each in startable)
        waiting = [shares[tenant] for tenant in ready if shares[tenant] < ready[tenant]]
        assert max(shares.values(), default=0) <= min(waiting, default=len(self.jobs)) + 1

    @precondition(lambda self: any(worker.hand for worker in self.workers))
    @rule(data=st.data(), kind=st.sampled_from(["finish", "fail", "retry", "discard", "give back"]))
    def settle(self, data: st.DataObject, kind: str) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.hand]))
        claim = data.draw(st.sampled_from(worker.hand))
        worker.hand.remove(claim)
        each = self.jobs[claim.id]
        wait = data.draw(st.integers(-5, 50))
        charged = msgspec.structs.replace(each.envelope, attempt=claim.attempt + 1)
        verdicts: dict[str, Settlement] = {
            "finish": Finish(claim),
            "fail": Fail(claim, failure(), charged),
            "retry": Retry(claim, charged, wait, failure()),
            "discard": Discard(claim, "no use", failure()),
            "give back": GiveBack(claim),
        }

        refused = worker.consumer.exchange(worker.id, [verdicts[kind]]).refused

        ours = (each.claimed_by, each.fence) == (claim.process, claim.fence)
        assert (refused == []) is ours
        if ours:
            self._settled(each, kind, wait)

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

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))

        assert self.processes.beat(worker.id) is (worker.id in self.living)
        if worker.id in self.living:
            self.living[worker.id] = self.now + timedelta(seconds=LEASE)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        """Its supervisor has seen it die. What it held comes back with the next look for the dead."""
        worker = data.draw(st.sampled_from(self.workers))
        self.processes.leave(worker.id)
        self.living.pop(worker.id, None)

    @rule()
    def reap(self) -> None:
        self.living = {process: until for process, until in self.living.items() if until >= self.now}
        orphans = {id for id, job in self.jobs.items() if job.state == "claimed" and job.claimed_by not in self.living}

        reaped = self.processes.reap()

        assert {*reaped.given_back, *reaped.failed} == orphans
        for each in (self.jobs[id] for id in orphans):
            each.deaths += 1
            each.claimed_by = None
            each.state = "ready" if each.deaths <= MAX_DEATHS else "failed"
            each.failures += each.state == "failed"

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "queue"):
            return
        with self.database.begin() as connection:
            rows = connection.execute(select(tables.jobs)).all()
            failed = Counter(connection.execute(select(tables.failures.c.job_id)).scalars())
        assert sorted(row.id for row in rows) == sorted(self.jobs)
        for row in rows:
            each = self.jobs[row.id]
            assert row.state == each.state or self._may_be_blocked(each, row.state)
            assert (row.state == "claimed") is (row.claimed_by is not None)
            assert row.due_at == each.due_at or each.is_paced
            assert row.fence == each.fence or (_may_wait(each) and row.fence > each.fence), "it was claimed in vain"
            assert (row.attempt, row.deaths, row.claimed_by, failed[row.id]) == (
                each.attempt,
                each.deaths,
                each.claimed_by,
                each.failures,
            )

    @invariant()
    def permits_are_those_of_jobs_that_run(self) -> None:
        if not hasattr(self, "queue"):
            return
        with self.database.begin() as connection:
            holders = connection.execute(select(tables.permits.c.owner)).scalars().all()
        assert sorted(holders) == sorted(
            id for id, each in self.jobs.items() if each.is_limited and each.state == "claimed"
        )

    def _may_be_blocked(self, job: Job, state: str) -> bool:
        put_aside = job.is_limited or job.is_paced or ("job", job.envelope.name) in self.paused
        states = ("blocked", "scheduled") if job.is_paced else ("blocked",)
        return state in states and job.state == "ready" and put_aside


def let_tell(dialect: Dialect, clock: Callable[[], datetime]) -> None:
    """Have the statements for a server go by this clock, and not by its own."""
    moment = tables.jobs.c.due_at.type
    dialect.now = lambda: cast(bindparam("tj_now", callable_=clock, type_=moment), moment)  # type: ignore[method-assign]


def _may_wait(job: Job) -> bool:
    return job.is_limited or job.is_paced


def _assert_heads(line: list[Job], taken: set[str]) -> None:
    """What was taken stood before what was not."""
    ours = [each.envelope.id for each in line]
    count = sum(id in taken for id in ours)
    assert set(ours[:count]) <= taken


@pytest.mark.timeout(300 * TIMES)
def test_the_queue_agrees_with_its_model_in_whatever_order_things_are_done(url: str, database: Database) -> None:
    on_server = not database.embedded
    run_state_machine_as_test(
        lambda: QueueMachine(url),
        settings=settings(
            max_examples=(3 if on_server else 12) * TIMES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )

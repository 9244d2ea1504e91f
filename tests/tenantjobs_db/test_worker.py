from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import Current, current_job, discard_on, job, perform_all_later, retry_on, subscribe
from tenantjobs.adapter import WorkOptions
from tenantjobs.errors import Interruption, LeaseLost
from tenantjobs.instrumentation import Performed
from tenantjobs.testing import Clock
from tenantjobs_db import worker as worker_module
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.attempting import attempt
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.failure import Failure
from tenantjobs_db.job_row import JobRow
from tenantjobs_db.lease import Lease
from tenantjobs_db.marking import Marking
from tenantjobs_db.processes import Processes
from tenantjobs_db.selection import Selection
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settlement import Claimed, Finish, GiveBack
from tenantjobs_db.tables import jobs
from tenantjobs_db.telling import Telling
from tenantjobs_db.worker import Worker
from tests.tenantjobs_db.making import envelope, let_expire


@pytest.fixture
def start(adapter: DatabaseAdapter) -> Callable[..., contextlib.AbstractContextManager[Worker]]:
    """Runs a worker beside the test, and stops it."""

    @contextmanager
    def start(settings: dict[str, Any] | None = None, **options: Any) -> Iterator[Worker]:
        wish = WorkOptions(**({"polling_interval": 0.02, "shutdown_timeout": 5.0} | options))
        worker = Worker(adapter.database, DatabaseSettings(**(settings or {})), wish)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(60)
            assert not thread.is_alive()

    return start


def drained(adapter: DatabaseAdapter, **options: Any) -> int:
    return Worker(
        adapter.database, adapter.settings, WorkOptions(**({"drain": True, "polling_interval": 0.02} | options))
    ).run()


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def found(adapter: DatabaseAdapter, job_id: str) -> JobRow:
    row = adapter.queue.find(job_id)
    assert row is not None
    return row


def test_jobs_run_with_their_tenant_and_are_finished(adapter: DatabaseAdapter) -> None:
    seen: list[Any] = []

    @job
    def note(number: int) -> None:
        context = current_job()
        seen.append((Current.tenant_id, number, context.attempt if context else None))

    for number in range(20):
        with Current.set(tenant_id=f"t{number % 4}"):
            note.perform_later(number)

    assert drained(adapter) == 0
    assert sorted(seen, key=lambda entry: entry[1]) == [(f"t{number % 4}", number, 1) for number in range(20)]
    assert adapter.queue.counts() == {"finished": 20}


def test_async_jobs_share_one_loop_and_the_slots(adapter: DatabaseAdapter) -> None:
    running, most, loops, five = 0, 0, set(), asyncio.Barrier(5)

    @job
    async def wait() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        loops.add(id(asyncio.get_running_loop()))
        await asyncio.wait_for(five.wait(), 20)
        await asyncio.sleep(0.02)  # time for a sixth one, that must not come
        running -= 1

    for _ in range(20):
        wait.perform_later()

    assert drained(adapter, threads=5) == 0
    assert (most, len(loops)) == (5, 1)
    assert adapter.queue.counts() == {"finished": 20}


def test_what_an_async_job_leaves_in_a_variable_ends_with_it(adapter: DatabaseAdapter) -> None:
    variable: ContextVar[int] = ContextVar("variable")
    seen = []

    @job
    async def leave(number: int) -> None:
        seen.append(variable.get(None))
        variable.set(number)

    for number in range(20):
        leave.perform_later(number)

    assert drained(adapter, threads=1) == 0
    assert seen == [None] * 20


class Short:
    """Jobs that are over at once, until one of them is told to wait."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.running = self.most = 0
        counting = threading.Lock()

        @job(name="short")
        def short(number: int, waits: bool = False) -> None:
            with counting:
                self.running += 1
                self.most = max(self.most, self.running)
            if waits:
                self.release.wait(20)
            with counting:
                self.running -= 1

        self.job = short

    def enqueue(self, count: int) -> None:
        perform_all_later([self.job.call(number) for number in range(count)])


def test_short_jobs_are_claimed_a_moment_ahead_and_no_more_run_than_there_are_slots(
    adapter: DatabaseAdapter, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[int] = []
    exchange = Consumer.exchange

    def spied(consumer: Consumer, process: str, settlements: Any = (), count: int = 0, *others: Any) -> Any:
        wanted.append(count)
        return exchange(consumer, process, settlements, count, *others)

    monkeypatch.setattr(Consumer, "exchange", spied)
    short = Short()
    short.enqueue(300)
    with start(threads=2):
        until(lambda: adapter.queue.counts() == {"finished": 300})

    assert max(wanted) > 2
    assert short.most <= 2


def test_what_waits_behind_long_jobs_goes_back(adapter: DatabaseAdapter, start: Any) -> None:
    short = Short()
    with start(threads=1) as worker:
        short.enqueue(50)
        until(lambda: adapter.queue.counts() == {"finished": 50} and worker._slots.free > 5)  # it knows: they are short
        perform_all_later([short.job.call(number, waits=number == 0) for number in range(5)])
        until(lambda: adapter.queue.counts() == {"finished": 50, "claimed": 1, "ready": 4})
        short.release.set()
        until(lambda: adapter.queue.counts() == {"finished": 55})


def test_behind_a_short_job_that_is_not_so_short_the_others_use_all_slots(adapter: DatabaseAdapter, start: Any) -> None:
    short = Short()
    with start(threads=2) as worker:
        short.enqueue(50)
        until(lambda: adapter.queue.counts() == {"finished": 50} and worker._slots.free > 5)
        perform_all_later([short.job.call(number, waits=number == 0) for number in range(5)])
        until(lambda: adapter.queue.counts() == {"finished": 54, "claimed": 1})
        short.release.set()


def test_what_was_not_started_goes_back_uncharged_when_the_worker_stops(adapter: DatabaseAdapter, start: Any) -> None:
    short = Short()
    with start(threads=1) as worker:
        short.enqueue(50)
        until(lambda: adapter.queue.counts() == {"finished": 50} and worker._slots.free > 5)
        handles = perform_all_later([short.job.call(number, waits=number == 0) for number in range(5)])
        until(lambda: short.running == 1)
        worker.stop()
        short.release.set()
        until(lambda: adapter.queue.counts() == {"finished": 51, "ready": 4})

    rows = [found(adapter, handle.job_id) for handle in handles]
    assert [(row.state, row.attempt, row.deaths) for row in rows] == [("finished", 1, 0)] + [("ready", 0, 0)] * 4


def test_beside_jobs_whose_process_has_died_nothing_is_claimed_ahead(adapter: DatabaseAdapter, start: Any) -> None:
    """One of them may have killed it, and will kill this one with all that it holds."""
    short = Short()
    with start(threads=2) as worker:
        short.enqueue(50)
        until(lambda: adapter.queue.counts() == {"finished": 50} and worker._slots.free > 5)
        calls = [short.job.call(number, waits=True) for number in range(20)]
        worker.quiet()
        perform_all_later(calls)
        with adapter.database.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.state == "ready").values(deaths=1))
        worker._quiet = False
        until(lambda: adapter.queue.counts() == {"finished": 50, "claimed": 2, "ready": 18})
        short.release.set()
        until(lambda: adapter.queue.counts() == {"finished": 70})


@pytest.mark.parity("1b.09")
def test_no_more_is_claimed_than_can_start(adapter: DatabaseAdapter, start: Any) -> None:
    release = threading.Event()

    @job
    def block() -> None:
        release.wait(30)

    for _ in range(6):
        block.perform_later()
    with start(threads=2):
        until(lambda: adapter.queue.counts().get("claimed") == 2)
        time.sleep(0.1)
        counts = adapter.queue.counts()
        release.set()
        until(lambda: adapter.queue.counts() == {"finished": 6})

    assert counts == {"claimed": 2, "ready": 4}


def test_a_job_that_raises_is_kept_with_its_traceback_and_the_worker_goes_on(adapter: DatabaseAdapter) -> None:
    @job
    def fails() -> None:
        raise ValueError("no way")

    @job
    def works() -> None: ...

    failing = fails.perform_later()
    works.perform_later()

    assert drained(adapter, threads=1) == 0
    row = found(adapter, failing.job_id)
    assert (row.state, row.attempt, row.failures[0].message) == ("failed", 1, "no way")
    assert 'raise ValueError("no way")' in row.failures[0].traceback
    assert adapter.queue.counts() == {"failed": 1, "finished": 1}


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_nothing_that_a_job_raises_ends_the_worker(adapter: DatabaseAdapter, end: BaseException) -> None:
    @job
    def exits() -> None:
        raise end

    @job
    async def aexits() -> None:
        raise asyncio.CancelledError if isinstance(end, asyncio.CancelledError) else ValueError

    exits.perform_later()
    aexits.perform_later()

    assert drained(adapter) == 0
    assert adapter.queue.counts() == {"failed": 2}


def test_a_retry_runs_again_and_its_history_is_kept(adapter: DatabaseAdapter) -> None:
    attempts: list[int] = []

    @job(policies=[retry_on(ValueError, wait=0, attempts=3)])
    def flaky() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError(f"attempt {len(attempts)}")

    handle = flaky.perform_later()

    assert drained(adapter) == 0
    row = found(adapter, handle.job_id)
    assert (row.state, row.attempt) == ("finished", 3)
    assert [(failure.attempt, failure.retried) for failure in row.failures] == [(1, True), (2, True)]


def test_a_retry_knows_when_it_was_due(adapter: DatabaseAdapter) -> None:
    due: list[datetime | None] = []
    retried: list[datetime | None] = []

    @job(policies=[retry_on(ValueError, wait=0, attempts=3)])
    def flaky() -> None:
        context = current_job()
        assert context is not None
        due.append(context.due_at)
        if len(due) == 1:
            raise ValueError("once")

    flaky.perform_later()
    with subscribe(lambda event: retried.append(event.due_at), Performed):
        assert drained(adapter) == 0

    assert retried[0] is not None
    assert (due, retried[1]) == ([None, retried[0]], None)


def test_a_retry_waits_by_the_clock_of_the_database_whatever_that_of_the_worker_says(
    adapter: DatabaseAdapter, tenantjobs_clock: Clock
) -> None:
    @job(policies=[retry_on(ValueError, wait=60, jitter=0, attempts=3)])
    def flaky() -> None:
        raise ValueError("once")

    handle = flaky.perform_later()
    tenantjobs_clock.move(timedelta(days=1))
    drained(adapter)

    due_at = found(adapter, handle.job_id).due_at
    assert due_at is not None
    assert 0 < (due_at - datetime.now(UTC)).total_seconds() <= 60


def test_a_retry_for_later_is_left_by_a_worker_that_drains(adapter: DatabaseAdapter) -> None:
    @job(policies=[retry_on(ValueError, wait=3600, attempts=3)])
    def flaky() -> None:
        raise ValueError

    flaky.perform_later()

    assert drained(adapter) == 0
    assert adapter.queue.counts() == {"scheduled": 1}


def test_a_discarded_job_says_why(adapter: DatabaseAdapter) -> None:
    @job(policies=[discard_on(ValueError)])
    def useless() -> None:
        raise ValueError("gone")

    handle = useless.perform_later()

    drained(adapter)
    row = found(adapter, handle.job_id)
    assert (row.state, row.attempt, row.failures[0].message) == ("discarded", 1, "gone")
    assert row.reason


def test_a_job_that_nobody_knows_is_quarantined(adapter: DatabaseAdapter) -> None:
    unknown = envelope("acme", name="no.such.job")
    adapter.enqueue(unknown)

    drained(adapter)

    row = found(adapter, unknown.id)
    assert (row.state, row.attempt) == ("quarantined", 0)
    assert "no.such.job" in str(row.reason)


@pytest.mark.parametrize("changed", [{"tenant": "globex"}, {"name": "other"}, {"data": "another's"}])
def test_a_row_that_is_not_of_its_envelope_is_quarantined(
    adapter: DatabaseAdapter, changed: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A foreign envelope, copied into a row by hand or by an attacker, is not run as either tenant's job."""
    ran: list[int] = []

    @job(name="row")
    def run(number: int) -> None:
        ran.append(number)

    with Current.set(tenant_id="acme"):
        handle = run.perform_later(1)
    if "data" in changed:
        changed = {"data": envelope("acme", name="row").encode().decode()}
    with adapter.database.begin() as connection:
        connection.execute(update(jobs).values(changed))
    drained(adapter)

    row = found(adapter, handle.job_id)
    assert (ran, row.state, row.attempt) == ([], "quarantined", 0)
    assert handle.job_id in str(row.reason)
    assert f"id={handle.job_id} queue=default tenant={row.tenant}" in caplog.text


def test_a_job_that_is_due_later_runs_when_its_time_comes(adapter: DatabaseAdapter, start: Any) -> None:
    @job
    def note() -> None: ...

    handle = note.set(wait=timedelta(seconds=0.3)).perform_later()
    with start():
        until(lambda: found(adapter, handle.job_id).state == "finished")

    row = found(adapter, handle.job_id)
    assert row.due_at is not None
    assert row.claimed_at is not None
    assert row.due_at <= row.claimed_at < row.due_at + timedelta(seconds=8)


def test_only_the_wanted_queues_are_served(adapter: DatabaseAdapter) -> None:
    @job
    def note() -> None: ...

    note.set(queue="mail").perform_later()
    other = note.set(queue="other").perform_later()

    drained(adapter, queues=("mail*",))

    assert found(adapter, other.job_id).state == "ready"
    assert adapter.queue.counts() == {"finished": 1, "ready": 1}


def test_an_enqueue_in_the_same_process_wakes_a_sleeping_worker(adapter: DatabaseAdapter) -> None:
    ran = threading.Event()

    @job
    def note() -> None:
        ran.set()

    thread = threading.Thread(target=adapter.work, args=(WorkOptions(polling_interval=30.0),), daemon=True)
    thread.start()
    until(lambda: adapter.workplace._workers)
    time.sleep(0.3)
    note.perform_later()

    assert ran.wait(30)
    adapter.workplace._workers[0].stop()
    thread.join(30)


def test_a_worker_that_is_stopped_finishes_what_runs(adapter: DatabaseAdapter, start: Any) -> None:
    started = threading.Event()

    @job
    def slow() -> None:
        started.set()
        time.sleep(0.3)

    slow.perform_later()
    slow.perform_later()
    with start(threads=1) as worker:
        assert started.wait(30)

    assert worker.hanging == []
    assert adapter.queue.counts() == {"finished": 1, "ready": 1}


@pytest.mark.parametrize("stops", [1, 2])
def test_what_still_runs_when_the_time_is_over_is_given_back(adapter: DatabaseAdapter, start: Any, stops: int) -> None:
    started, astarted, release = threading.Event(), threading.Event(), threading.Event()

    @job
    def hangs() -> None:
        started.set()
        release.wait(20)

    @job
    async def ahangs() -> None:
        astarted.set()
        await asyncio.sleep(20)

    handles = [hangs.perform_later(), ahangs.perform_later()]
    began = time.monotonic()
    with start(threads=2, shutdown_timeout=0.2 if stops == 1 else 60.0) as worker:
        assert started.wait(30)
        assert astarted.wait(30)
        for _ in range(stops):
            worker.stop()

    rows = [found(adapter, handle.job_id) for handle in handles]
    assert time.monotonic() - began < 15
    assert sorted(claim.id for claim in worker.hanging) == sorted(handle.job_id for handle in handles)
    assert [(row.state, row.attempt, row.deaths) for row in rows] == [("ready", 0, 0)] * 2
    release.set()


@pytest.fixture
def effects(tmp_path: Path) -> Iterator[Callable[[], int]]:
    """An application's database, whose sessions jobs have: how many rows were committed there."""
    engine = create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE effects (number INTEGER)"))
    tenantjobs_sqlalchemy.install(sessionmaker(engine))

    def committed() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM effects")).scalar_one())

    yield committed
    tenantjobs_sqlalchemy.uninstall()
    engine.dispose()


def have_an_effect() -> None:
    tenantjobs_sqlalchemy.current_session().execute(text("INSERT INTO effects VALUES (1)"))


def test_what_a_job_does_after_it_was_given_back_is_rolled_back(
    adapter: DatabaseAdapter, start: Any, effects: Callable[[], int]
) -> None:
    started, release = threading.Event(), threading.Event()

    @job
    def hangs() -> None:
        have_an_effect()
        started.set()
        release.wait(20)

    handle = hangs.perform_later()
    with start(threads=1, shutdown_timeout=0.1) as worker:
        assert started.wait(30)
        worker.stop()
    release.set()
    until(lambda: worker._slots.results(0.05))  # its thread has ended

    assert found(adapter, handle.job_id).state == "ready"
    assert effects() == 0


def delivery(adapter: DatabaseAdapter, claim: Claimed, lease: Lease) -> Delivery:
    database = adapter.database
    return Delivery(claim, lease, lambda: False, marking=Marking(database), telling=Telling(database))


def test_a_process_that_was_stopped_past_its_lease_asks_before_it_commits(
    adapter: DatabaseAdapter, effects: Callable[[], int]
) -> None:
    """It wakes in the middle of a job, before its heartbeat does."""

    @job
    def stopped() -> None:
        have_an_effect()
        lease._renewed = float("-inf")
        with adapter.database.begin() as connection:
            connection.execute(text("DELETE FROM tj_processes"))

    stopped.perform_later()
    lease = Lease(Processes(adapter.database, lease=60.0, max_deaths=3), 60.0)
    lease.begin()
    (claim,) = Consumer(adapter.database, Selection(["*"])).exchange(lease.process, (), 1).claimed
    settlement = attempt(delivery(adapter, claim, lease))

    assert isinstance(settlement, GiveBack)
    assert effects() == 0


def test_a_process_that_was_only_slow_to_say_so_still_commits(
    adapter: DatabaseAdapter, effects: Callable[[], int]
) -> None:
    @job
    def slow() -> None:
        have_an_effect()
        lease._renewed = float("-inf")

    slow.perform_later()
    lease = Lease(Processes(adapter.database, lease=60.0, max_deaths=3), 60.0)
    lease.begin()
    (claim,) = Consumer(adapter.database, Selection(["*"])).exchange(lease.process, (), 1).claimed
    settlement = attempt(delivery(adapter, claim, lease))

    assert isinstance(settlement, Finish)
    assert effects() == 1


def test_a_worker_that_ends_leaves_no_process_behind(adapter: DatabaseAdapter) -> None:
    drained(adapter)

    with adapter.database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM tj_processes")).scalar() == 0


@pytest.mark.parametrize("error", [Interruption, LeaseLost])
def test_an_interrupted_job_is_given_back_uncharged(
    adapter: DatabaseAdapter, start: Any, error: type[BaseException]
) -> None:
    runs: list[int] = []

    @job
    def interrupted() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise error

    handle = interrupted.perform_later()
    with start():
        until(lambda: found(adapter, handle.job_id).state == "finished")

    assert (len(runs), found(adapter, handle.job_id).attempt) == (3, 1)


@pytest.mark.parity("1b.24")
def test_a_worker_that_was_taken_for_dead_loses_its_jobs_and_goes_on(
    adapter: DatabaseAdapter, start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    release, started = threading.Event(), threading.Event()

    @job
    def slow(number: int) -> None:
        started.set()
        if number == 1:
            release.wait(30)

    first = slow.perform_later(1)
    with caplog.at_level(logging.WARNING, "tenantjobs.db"), start(threads=1) as worker:
        assert started.wait(30)
        lost = found(adapter, first.job_id).claimed_by
        let_expire(adapter.database, str(lost))
        Processes(adapter.database, lease=60.0, max_deaths=3).reap()
        worker._lease.renew()  # its next heartbeat, seconds later
        assert worker._lease.process != lost
        release.set()
        until(lambda: adapter.queue.counts() == {"finished": 1})

    row = found(adapter, first.job_id)
    assert (row.deaths, row.fence, row.attempt) == (1, 2, 1)
    assert "was refused" in caplog.text or "lost its jobs" in caplog.text


@pytest.mark.parity("1b.09")
def test_a_database_that_does_not_answer_costs_no_job_and_no_worker(
    adapter: DatabaseAdapter, start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    @job
    def note(number: int) -> None:
        runs.append(number)

    begin = adapter.database.begin
    down = threading.Event()

    @contextmanager
    def begin_unless_down() -> Iterator[Any]:
        if down.is_set():
            raise OperationalError("BEGIN", {}, Exception("the server closed the connection"))
        with begin() as connection:
            yield connection

    adapter.database.begin = begin_unless_down  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "tenantjobs.db"), start() as worker:
        for number in range(10):
            note.perform_later(number)
        until(lambda: len(runs) > 2)
        down.set()
        time.sleep(0.3)
        down.clear()
        until(lambda: adapter.queue.counts() == {"finished": 10})
    adapter.database.begin = begin  # type: ignore[method-assign]

    assert worker.hanging == []
    assert sorted(runs) == list(range(10))


def test_a_claim_whose_answer_was_lost_is_found_again(
    adapter: DatabaseAdapter, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happened, and the connection broke before it said so."""
    runs: list[int] = []

    @job
    def note(number: int) -> None:
        runs.append(number)

    losses = 3

    def losing_answers(connecting: Callable[[], AbstractContextManager[Any]]) -> Callable[[], Any]:
        @contextmanager
        def lose_the_answer() -> Iterator[Any]:
            nonlocal losses
            with connecting() as connection:
                yield connection
            if losses and threading.current_thread().name == "losing":
                losses -= 1
                raise OperationalError("COMMIT", {}, Exception("the connection broke"))

        return lose_the_answer

    for number in range(8):
        note.perform_later(number)
    worker = Worker(adapter.database, adapter.settings, WorkOptions(polling_interval=0.02, threads=2))
    monkeypatch.setattr(adapter.database, "begin", losing_answers(adapter.database.begin))
    monkeypatch.setattr(adapter.database, "autocommit", losing_answers(adapter.database.autocommit))
    worker._lease.begin()
    worker._lease.begin = lambda: None  # type: ignore[method-assign]  # known already
    thread = threading.Thread(target=worker.run, name="losing", daemon=True)
    thread.start()
    until(lambda: adapter.queue.counts() == {"finished": 8})
    worker.stop()
    thread.join(30)

    assert losses == 0
    assert sorted(runs) == list(range(8))


def test_a_verdict_that_cannot_be_stored_holds_up_no_other(
    adapter: DatabaseAdapter, start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @job
    def fails() -> None:
        raise ValueError

    @job
    def works() -> None: ...

    failing = fails.perform_later()
    for _ in range(3):
        works.perform_later()
    original = Failure.of
    monkeypatch.setattr(Failure, "of", lambda error: Failure(None, "", ""))  # type: ignore[arg-type]  # NOT NULL says no

    with start():
        until(lambda: adapter.queue.counts() == {"failed": 1, "finished": 3})
    monkeypatch.setattr(Failure, "of", original)

    row = found(adapter, failing.job_id)
    assert row.failures[0].error_class == "tenantjobs_db.UnstorableVerdict"
    assert "cannot be stored" in caplog.text


def test_logs_name_the_job_and_never_its_arguments(adapter: DatabaseAdapter, caplog: pytest.LogCaptureFixture) -> None:
    @job
    def secretive(password: str) -> None:
        raise SystemError

    with Current.set(tenant_id="acme"):
        secretive.perform_later("hunter2")
    with caplog.at_level(logging.DEBUG):
        drained(adapter)

    assert "secretive" in caplog.text
    assert "hunter2" not in caplog.text


def test_workers_in_parallel_share_the_work_without_doubling_it(adapter: DatabaseAdapter) -> None:
    runs: list[int] = []

    @job
    def note(number: int) -> None:
        runs.append(number)

    for number in range(100):
        with Current.set(tenant_id=f"t{number % 5}"):
            note.perform_later(number)
    threads = [threading.Thread(target=drained, args=(adapter,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(runs) == list(range(100))
    assert adapter.queue.counts() == {"finished": 100}


def test_the_last_words_of_a_worker_are_not_waited_for_without_end(
    adapter: DatabaseAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LAST_WORDS", 0.3)
    worker = Worker(adapter.database, adapter.settings, WorkOptions(polling_interval=0.02))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    until(lambda: worker._lease.process)

    def down() -> Any:
        raise OperationalError("BEGIN", {}, Exception("down"))

    begin = adapter.database.begin
    adapter.database.begin = down  # type: ignore[method-assign]
    worker.stop()
    thread.join(30)
    adapter.database.begin = begin  # type: ignore[method-assign]

    assert not thread.is_alive()

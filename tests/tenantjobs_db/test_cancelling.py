"""Jobs that are cancelled while they run: what that stops, and what it leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

import tenantjobs
from tenantjobs import current_job, job, retry_on, stored_jobs
from tenantjobs import unique as unique_policy
from tenantjobs.adapter import WorkOptions
from tenantjobs.errors import ConfigurationError
from tenantjobs.instrumentation import Intervened
from tenantjobs_db import tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.attempting import aattempt, attempt
from tenantjobs_db.cancelling import Cancelling
from tenantjobs_db.database import Database
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.lease import Lease
from tenantjobs_db.marking import Marking
from tenantjobs_db.queue import Queue
from tenantjobs_db.settlement import Discard, Finish, GiveBack, Settlement
from tenantjobs_db.telling import Telling
from tests.tenantjobs_db.making import Claimer

# What is the same whatever the database is.
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

happened: list[str] = []


@pytest.fixture(autouse=True)
def configured(adapter: DatabaseAdapter) -> None:
    happened.clear()


@pytest.fixture
def delivered(database: Database, claimer: Claimer) -> Callable[[], Delivery]:
    """The delivery of the job that is ready."""
    lease = Lease(claimer.processes, 60.0)
    lease.begin()

    def deliver() -> Delivery:
        claim = claimer.claim_one()
        lease.process = claim.process
        return Delivery(claim, lease, lambda: False, marking=Marking(database), telling=Telling(database))

    return deliver


def is_cancelled(settlement: Settlement) -> bool:
    return isinstance(settlement, Discard) and settlement.reason == "cancelled while it ran"


@on_sqlite
def test_a_job_on_a_thread_is_told_and_may_end_there(delivered: Callable[[], Delivery], claimer: Claimer) -> None:
    @job(name="polite")
    def polite() -> None:
        me = current_job()
        assert me is not None
        assert not me.cancelled
        me.heed_cancel()
        delivery.cancel()
        assert me.cancelled
        happened.append("told")
        me.heed_cancel()
        happened.append("went on")

    polite.perform_later()
    delivery = delivered()
    settlement = attempt(delivery)

    assert is_cancelled(settlement)
    assert happened == ["told"]
    claimer.settle(settlement)


@on_sqlite
def test_one_that_returns_all_the_same_has_finished_and_one_that_raises_is_not_tried_again(
    delivered: Callable[[], Delivery], claimer: Claimer
) -> None:
    @job(name="deaf", policies=[retry_on(OSError, wait=0)])
    def deaf(fails: bool) -> None:
        delivery.cancel()
        if fails:
            raise OSError

    deaf.perform_later(False)
    delivery = delivered()
    finished = attempt(delivery)
    deaf.perform_later(True)
    delivery = delivered()
    raised = attempt(delivery)

    assert isinstance(finished, Finish)
    assert is_cancelled(raised)
    assert isinstance(raised, Discard)
    assert raised.failure is not None, "what it raised is in its history"
    claimer.settle(finished, raised)


@on_sqlite
@pytest.mark.parity("1c.03")
def test_a_job_with_steps_ends_at_its_next_checkpoint(delivered: Callable[[], Delivery], claimer: Claimer) -> None:
    @job(name="stepping")
    def stepping() -> None:
        for _ in tenantjobs.step("first"):
            happened.append("first")
            delivery.cancel()
        for _ in tenantjobs.step("second"):
            happened.append("second")

    stepping.perform_later()
    delivery = delivered()
    settlement = attempt(delivery)

    assert is_cancelled(settlement)
    assert happened == ["first"]
    claimer.settle(settlement)


@on_sqlite
def test_an_async_job_is_cancelled_where_it_awaits_and_frees_its_key(
    delivered: Callable[[], Delivery], claimer: Claimer
) -> None:
    started = threading.Event()

    @job(name="waiting", policies=[unique_policy("until_executed")])
    async def waiting() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            happened.append("cleaned up")

    waiting.perform_later()
    delivery = delivered()
    threading.Thread(target=lambda: started.wait(10) and delivery.cancel()).start()
    settlement = asyncio.run(aattempt(delivery))

    assert is_cancelled(settlement)
    assert happened == ["cleaned up"]
    assert waiting.perform_later().enqueued
    claimer.settle(settlement)


@on_sqlite
def test_an_async_job_that_was_cancelled_before_it_began_to_wait_ends_too(
    delivered: Callable[[], Delivery], claimer: Claimer
) -> None:
    @job(name="waiting")
    async def waiting() -> None:
        await asyncio.sleep(60)

    waiting.perform_later()
    delivery = delivered()
    delivery.cancel()
    settlement = asyncio.run(aattempt(delivery))

    assert is_cancelled(settlement)
    claimer.settle(settlement)


@pytest.mark.parity("1c.03")
def test_a_worker_tells_its_jobs_and_what_waits_again_is_taken_back(
    queue: Queue, database: Database, delivered: Callable[[], Delivery], claimer: Claimer
) -> None:
    @job(name="running", policies=[unique_policy("until_executed")])
    def running() -> None: ...

    handle = running.perform_later()
    delivery = delivered()
    claim = msgspec.structs.replace(delivery.claim, id="another")
    other = Delivery(
        claim, Lease(claimer.processes, 60.0), lambda: False, marking=Marking(database), telling=Telling(database)
    )
    cancelling = Cancelling(database)
    heard: list[Intervened] = []

    with tenantjobs.subscribe(heard.append, Intervened):
        assert not stored_jobs().cancel(handle.job_id)
        assert stored_jobs().cancel_all().told == 1, "asked twice"
    cancelling.tell(lambda: [delivery, other])
    assert (delivery.cancelled(), other.cancelled()) == (True, False)
    assert [event.verb for event in heard] == ["told to stop", "told to stop"]
    assert cancelling.take_back() == []

    claimer.settle(GiveBack(delivery.claim))
    assert cancelling.take_back() == [handle.job_id]
    found = queue.find(handle.job_id)
    assert found is not None
    assert (found.state, found.reason) == ("discarded", "cancelled")
    cancelling.prune()
    with database.begin() as connection:
        assert connection.execute(select(tables.cancellations)).all() == []


def test_who_is_not_performed_is_not_cancelled() -> None:
    seen: list[Any] = []

    @job(name="looking")
    def looking() -> None:
        seen.append(current_job())

    looking.perform_later()
    tenantjobs.testing.drain()

    assert not seen[0].cancelled
    with pytest.raises(ConfigurationError, match="asks whether it was cancelled where it is not performed"):
        seen[0].heed_cancel()


@on_sqlite
def test_a_worker_hears_of_it_while_the_job_runs(adapter: DatabaseAdapter, queue: Queue) -> None:
    started = threading.Event()

    @job(name="waiting")
    async def waiting() -> None:
        started.set()
        await asyncio.sleep(60)

    job_id = waiting.perform_later().job_id

    def cancel() -> None:
        if started.wait(20):
            stored_jobs().cancel(job_id)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    options = WorkOptions(drain=True, threads=1)
    code = adapter.workplace.run(adapter.workplace.worker(options), options)
    canceller.join()

    assert code == 0
    found = queue.find(job_id)
    assert found is not None
    assert (found.state, found.reason) == ("discarded", "cancelled while it ran")

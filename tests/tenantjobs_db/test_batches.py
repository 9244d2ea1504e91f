from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text, update

import tenantjobs
from tenantjobs import Batch, Handle, concluding, current_batch, job, testing
from tenantjobs.errors import EnqueueError, PartlyEnqueued
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.lease import Lease
from tenantjobs_db.processes import Processes
from tenantjobs_db.tables import batch_jobs, batches, jobs
from tests.tenantjobs_db.making import LONG_AGO, Claimer, let_expire

happened: list[Any] = []


@job(name="tests.batches.work")
def work(number: int) -> None:
    happened.append(number)


@job(name="tests.batches.bad")
def bad() -> None:
    raise ZeroDivisionError


@job(name="tests.batches.success")
def success(batch: Batch) -> None:
    happened.append(("success", batch.done))


@job(name="tests.batches.failure")
def failure() -> None:
    happened.append("failure")


@job(name="tests.batches.finish")
def finish() -> None:
    happened.append("finish")


@job(name="tests.batches.adding")
def adding() -> None:
    batch = current_batch()
    assert batch is not None
    batch.add(work.call(7))


CALLBACKS: dict[str, Any] = {"on_success": success, "on_failure": failure, "on_finish": finish}


@pytest.fixture(autouse=True)
def fresh() -> None:
    happened.clear()


@pytest.fixture
def keeping(database: Database, adapter: DatabaseAdapter) -> Iterator[Keeping]:
    processes = Processes(database, lease=60.0, max_deaths=0)
    lease = Lease(processes, 60.0)
    lease.begin()
    yield Keeping(database, processes, lease, adapter.settings)
    lease.end()


def rows(database: Database, table: Any) -> list[Any]:
    with database.begin() as connection:
        return list(connection.execute(select(table)).all())


def test_a_batch_calls_back_through_the_queue(adapter: DatabaseAdapter) -> None:
    with tenantjobs.batch(**CALLBACKS, description="d", properties={"a": [1]}) as batch:
        handles = [work.perform_later(number) for number in range(3)]
        adding.perform_later()
        assert adapter.queue.counts() == {}

    assert [handle.enqueued for handle in handles] == [True] * 3
    assert (batch.total, batch.done) == (4, 0)

    testing.drain()

    assert sorted(happened[:4]) == [0, 1, 2, 7]
    assert happened[4:] == [("success", 5), "finish"]
    found = Batch.find(batch.id)
    assert found is not None
    assert (found.description, found.properties, found.finished) == ("d", {"a": [1]}, True)
    with pytest.raises(EnqueueError, match="has ended"):
        batch.add(work.call(1))


def test_a_failure_is_called_back_once(adapter: DatabaseAdapter) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        bad.perform_later()
        bad.perform_later()
    testing.drain()

    assert sorted(happened) == ["failure", "finish"]
    assert (batch.failed, batch.finished) == (2, True)


def test_batches_in_a_batch_keep_it_open(adapter: DatabaseAdapter) -> None:
    with tenantjobs.batch(on_success=finish) as outer:
        with tenantjobs.batch(on_success=success):
            work.perform_later(1)
        with tenantjobs.batch():
            tenantjobs.chain(work.call(2), work.call(3)).perform_later()
    assert not outer.finished
    testing.drain()

    assert happened[-1] == "finish"
    assert set(happened) == {1, 2, 3, ("success", 1), "finish"}
    assert outer.finished


def test_the_callbacks_commit_with_the_end_of_the_batch(
    adapter: DatabaseAdapter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        handle = work.perform_later(1)

    def refuse(*_: object) -> None:
        raise OSError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(type(adapter), "enqueue_within", refuse)
        testing.drain()
    assert happened == [1]
    assert not batch.finished
    assert {row.state for row in rows(database, batch_jobs)} == {"done"}
    with database.begin() as connection:  # the job comes back, since it could not say that it is done
        connection.execute(update(jobs).where(jobs.c.id == handle.job_id).values(state="ready"))
    testing.drain()

    assert happened == [1, 1, ("success", 1), "finish"]


def test_jobs_that_end_at_the_same_time_call_back_once(adapter: DatabaseAdapter) -> None:
    with tenantjobs.batch(on_success=success) as batch:
        for number in range(12):
            work.perform_later(number)
    envelopes = [row.data for row in rows(adapter.database, jobs)]
    barrier = threading.Barrier(4)

    def perform(part: list[str]) -> None:
        barrier.wait()
        for data in part:
            tenantjobs.perform(data)

    threads = [threading.Thread(target=perform, args=(envelopes[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert batch.state() == tenantjobs.BatchState(total=12, done=12, failed=0, finished=True)
    assert sum(row.name == "tests.batches.success" for row in rows(adapter.database, jobs)) == 1


def test_a_delivery_that_comes_twice_counts_once(adapter: DatabaseAdapter) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        work.perform_later(1)
        work.set(wait=60).perform_later(2)
    data = next(row.data for row in rows(adapter.database, jobs) if row.state == "ready")
    for _ in range(3):
        tenantjobs.perform(data)

    assert (batch.total, batch.done, batch.finished) == (2, 1, False)


def test_a_job_that_too_many_workers_died_with_has_failed(
    adapter: DatabaseAdapter, database: Database, claimer: Claimer, keeping: Keeping
) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        work.perform_later(1)
    claimer.claim_one()
    let_expire(database, claimer.process)
    keeping.reap()
    testing.drain()

    assert (batch.failed, batch.finished) == (1, True)
    assert sorted(happened) == ["failure", "finish"]


def test_one_that_is_not_an_envelope_has_failed_as_soon_as_the_worker_keeps_order(
    adapter: DatabaseAdapter, database: Database, keeping: Keeping
) -> None:
    with tenantjobs.batch(**CALLBACKS):
        handle = work.perform_later(1)
    with database.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == handle.job_id).values(data="{}"))
    testing.drain()
    assert happened == []

    keeping.conclude()
    testing.drain()

    assert sorted(happened) == ["failure", "finish"]


def test_one_that_was_cancelled_behind_the_back_of_its_handle_leaves_the_batch(
    adapter: DatabaseAdapter, keeping: Keeping
) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        work.perform_later(1)
        handle: Handle = work.perform_later(2)
    assert adapter.cancel(handle.job_id)
    testing.drain()
    keeping.conclude()
    testing.drain()

    assert happened == [1, ("success", 1), "finish"]
    assert batch.total == 1


def test_what_a_worker_left_half_done_is_done_by_another(
    adapter: DatabaseAdapter, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenantjobs.batch(**CALLBACKS):
        work.perform_later(1)
    with monkeypatch.context() as patch:
        patch.setattr(concluding, "conclude", lambda *_, **__: None)
        testing.drain()
    assert happened == [1]

    keeping.conclude()
    testing.drain()

    assert happened == [1, ("success", 1), "finish"]


def test_old_batches_are_forgotten_but_not_before_they_have_called_back(
    adapter: DatabaseAdapter, database: Database, keeping: Keeping
) -> None:
    with tenantjobs.batch(on_success=success.set(wait=3600)) as waits:
        work.perform_later(1)
    with tenantjobs.batch() as over:
        work.perform_later(2)
    with tenantjobs.batch() as running:
        work.set(wait=3600).perform_later(3)
    testing.drain()
    with database.begin() as connection:
        connection.execute(update(batches).where(batches.c.finished_at.is_not(None)).values(finished_at=LONG_AGO))
    keeping.prune()

    assert {row.id for row in rows(database, batches)} == {waits.id, running.id}
    assert over.id not in {row.batch for row in rows(database, batch_jobs)}


def test_a_database_without_the_tables_says_how_they_are_made(adapter: DatabaseAdapter, database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE tj_batches RENAME TO tj_elsewhere"))
    try:
        with pytest.raises(EnqueueError, match="db upgrade"), tenantjobs.batch():
            work.perform_later(1)
    finally:
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE tj_elsewhere RENAME TO tj_batches"))

    assert adapter.queue.counts() == {}


def test_what_finds_open_work_is_in_the_index(database: Database) -> None:
    if not database.dialect.partial_indexes:
        pytest.skip("every row is in every index")
    with database.begin() as connection:
        if database.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN "
        else:
            explain = "EXPLAIN QUERY PLAN "
        query = "SELECT job FROM tj_batch_jobs WHERE batch = 'b' AND state <> 'done' AND state = 'pending' LIMIT 1"
        plan = "\n".join(map(str, connection.execute(text(explain + query)).all()))

    assert "tj_batch_jobs_unfinished" in plan


def test_inline_has_batches_where_there_is_a_database_for_them(adapter: DatabaseAdapter, url: str) -> None:
    with testing.override(adapter="inline", tenancy="optional", db={"url": url}):
        with pytest.raises(PartlyEnqueued), tenantjobs.batch(on_failure=failure, on_finish=finish) as batch:
            work.perform_later(1)
            bad.perform_later()
        with tenantjobs.batch(on_success=success):
            tenantjobs.chain(work.call(2), work.call(3)).perform_later()

        assert happened == [1, "failure", "finish", 2, 3, ("success", 2)]
        assert (batch.done, batch.failed, batch.finished) == (1, 1, True)


def test_a_chain_goes_through_the_queue(adapter: DatabaseAdapter) -> None:
    tenantjobs.chain(work.call(1), work.call(2), work.call(3)).perform_later()
    testing.drain()

    assert happened == [1, 2, 3]

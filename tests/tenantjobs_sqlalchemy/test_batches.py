"""Batches and chains in transactions: they commit with what was enqueued in them, and a rollback leaves nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs
from tenantjobs import Batch, Current, adapter, concluding, current_batch, job, testing, unique
from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs_db import schema, tables
from tenantjobs_sqlalchemy import current_session
from tests.tenantjobs_sqlalchemy.conftest import Order

Maker = sessionmaker[Session]
AMaker = async_sessionmaker[AsyncSession]

happened: list[Any] = []


@job(name="tests.batches.tx.work", tenancy="none")
def work(number: int) -> None:
    happened.append(number)


@job(name="tests.batches.tx.transactional", tenancy="none", transactional=True)
def transactional(name: str) -> None:
    current_session().add(Order(name=name))
    happened.append(name)


@job(name="tests.batches.tx.failing", tenancy="none", transactional=True)
def failing() -> None:
    raise ZeroDivisionError


@job(name="tests.batches.tx.adding", tenancy="none")
def adding() -> None:
    batch = current_batch()
    assert batch is not None
    batch.add(work.call(7))
    current_session().add(Order(name="added"))


@job(name="tests.batches.tx.only", tenancy="none", policies=[unique("until_executed")])
def only() -> None: ...


@job(name="tests.batches.tx.at_once", tenancy="none", enqueue_after_commit=False)
def at_once() -> None:
    happened.append("at once")


@job(name="tests.batches.tx.ship", tenancy="none")
def ship(order: Order) -> None:
    happened.append(order.name)


@job(name="tests.batches.tx.success", tenancy="none")
def success() -> None:
    happened.append("success")


@job(name="tests.batches.tx.failure", tenancy="none")
def failure() -> None:
    happened.append("failure")


@job(name="tests.batches.tx.finish", tenancy="none")
def finish() -> None:
    happened.append("finish")


CALLBACKS: dict[str, Any] = {"on_success": success, "on_failure": failure, "on_finish": finish}


class Broker:
    """A queue elsewhere, with the ledger of ``[db]``."""

    capabilities = Capabilities(delay=True, priority=True, bulk=True)

    def __init__(self, batches: object, locks: object, ledger: object) -> None:
        self.batches = batches
        self.locks = locks
        self.ledger = ledger
        self.waiting: list[bytes] = []

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueue_all([envelope])

    def enqueue_all(self, envelopes: Any) -> None:
        self.waiting += [envelope.encode() for envelope in envelopes]

    def drain(self) -> int:
        performed = 0
        while self.waiting:
            performed += 1
            with suppress(ZeroDivisionError):
                tenantjobs.perform(self.waiting.pop(0))
        return performed

    def close(self) -> None: ...


@pytest.fixture
def ready(engine: Engine) -> Engine:
    """The schema of the queue, empty."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        for table in (tables.jobs, tables.locks, tables.outbox, tables.batches, tables.batch_jobs, tables.ledger):
            connection.execute(delete(table))
    happened.clear()
    return engine


@pytest.fixture(params=["joined", "after_commit", "outbox"])
def configured(request: pytest.FixtureRequest, ready: Engine) -> Iterator[str]:
    """The queue is in the database; or elsewhere, reached after the commit, or by the outbox."""
    kind: str = request.param
    with testing.override(adapter="db", db={"engine": ready}, outbox=kind == "outbox"):
        if kind == "joined":
            yield kind
            return
        database: Any = adapter.configured()
        broker = Broker(database.batches, database.locks, database.ledger)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(adapter, "configured", lambda: broker)
            yield kind


def drain() -> int:
    queue: Any = adapter.configured()
    drained: int = queue.drain()
    return drained


def rows(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [*connection.scalars(select(tables.batches.c.id)), *connection.scalars(select(tables.batch_jobs.c.job))]


@pytest.mark.usefixtures("configured")
@pytest.mark.parity("1c.17")
def test_a_batch_commits_with_the_transaction_around_it(maker: Maker, ready: Engine) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
        with tenantjobs.batch(**CALLBACKS) as batch:
            handle = work.perform_later(1)
            tenantjobs.perform_all_later([work.call(2)])
        assert (handle.enqueued, batch.total) == (None, 2)

    assert handle.enqueued
    assert batch.total == 2

    drain()

    assert happened == [1, 2, "success", "finish"]
    with Current.system("look"):
        assert Batch.find(batch.id) == batch


@pytest.mark.usefixtures("configured")
def test_a_rollback_leaves_nothing(maker: Maker, ready: Engine) -> None:
    with pytest.raises(ZeroDivisionError), maker.begin():
        with tenantjobs.batch(**CALLBACKS), tenantjobs.batch(**CALLBACKS):
            work.perform_later(1)
        with tenantjobs.batch(**CALLBACKS):
            pass
        raise ZeroDivisionError

    assert drain() == 0
    assert rows(ready) == []


@pytest.mark.usefixtures("configured")
def test_an_error_of_the_block_that_is_caught_in_the_transaction_leaves_nothing_either(
    maker: Maker, ready: Engine
) -> None:
    with maker.begin() as session:
        with pytest.raises(ZeroDivisionError), tenantjobs.batch(**CALLBACKS):
            handle = work.perform_later(1)
            raise ZeroDivisionError
        session.add(Order(name="a"))

    assert handle.enqueued is False
    assert drain() == 0
    assert rows(ready) == []


@pytest.mark.usefixtures("configured")
def test_a_savepoint_that_is_rolled_back_in_the_block_drops_its_jobs(maker: Maker) -> None:
    with maker.begin() as session, tenantjobs.batch(**CALLBACKS) as batch:
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            work.perform_later(1)
            raise ZeroDivisionError
        work.perform_later(2)
    drain()

    assert happened == [2, "success", "finish"]
    assert batch.total == 1


@pytest.mark.usefixtures("configured")
@pytest.mark.parity("1c.17")
def test_transactions_in_the_block_take_their_jobs_along_and_the_batch_ends_after_the_block(maker: Maker) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        work.perform_later(1)
        with maker.begin():
            work.perform_later(2)
        drain()
        assert happened == [2]
        with pytest.raises(ZeroDivisionError), maker.begin():
            work.perform_later(3)
            raise ZeroDivisionError
    assert (batch.total, batch.finished) == (2, False)
    drain()

    assert happened == [2, 1, "success", "finish"]


@pytest.mark.usefixtures("configured")
def test_one_that_is_rolled_back_leaves_the_others(maker: Maker) -> None:
    with tenantjobs.batch(**CALLBACKS):
        with pytest.raises(ZeroDivisionError), maker.begin() as session:
            work.perform_later(3)
            session.flush()
            raise ZeroDivisionError
        work.perform_later(1)
    drain()

    assert happened == [1, "success", "finish"]


@pytest.mark.usefixtures("configured")
@pytest.mark.parity("1c.17")
def test_a_batch_whose_block_fails_after_a_commit_inside_has_failed(maker: Maker) -> None:
    with pytest.raises(ZeroDivisionError), tenantjobs.batch(**CALLBACKS) as batch:
        with maker.begin():
            work.perform_later(1)
        work.perform_later(2)
        raise ZeroDivisionError
    drain()

    assert sorted(happened, key=str) == [1, "failure", "finish"]
    assert batch.finished


@pytest.mark.usefixtures("configured")
def test_an_empty_one_calls_back_with_the_commit(maker: Maker) -> None:
    with maker.begin():
        with tenantjobs.batch(**CALLBACKS) as batch:
            pass
        drain()
        assert happened == []
    drain()

    assert happened == ["success", "finish"]
    assert batch.finished


@pytest.mark.usefixtures("configured")
def test_so_does_one_in_which_all_jobs_turn_out_to_be_duplicates(maker: Maker) -> None:
    only.set(wait=3600).perform_later()
    with maker.begin(), tenantjobs.batch(**CALLBACKS) as batch:
        only.perform_later()
    queue: Any = adapter.configured()
    if isinstance(queue, Broker):
        queue.waiting = [data for data in queue.waiting if b"tests.batches.tx.only" not in data]
    drain()

    assert happened == ["success", "finish"]
    assert batch.finished


@pytest.mark.usefixtures("configured")
def test_a_job_that_does_not_wait_for_a_commit_does_so_in_a_batch(maker: Maker) -> None:
    with maker.begin():
        with tenantjobs.batch(**CALLBACKS):
            at_once.perform_later()
            work.perform_later(1)
        drain()
        assert happened == []
    drain()

    assert happened == ["at once", 1, "success", "finish"]


@pytest.mark.usefixtures("configured")
def test_what_a_job_adds_commits_with_its_work_before_it_is_done(maker: Maker) -> None:
    with tenantjobs.batch(**CALLBACKS) as batch:
        adding.perform_later()
    drain()

    assert happened == [7, "success", "finish"]
    assert batch.total == 2


@pytest.mark.usefixtures("configured")
def test_records_that_are_still_to_be_saved_travel_in_chains_and_callbacks(maker: Maker) -> None:
    with maker.begin() as session:
        order = Order(name="new")
        session.add(order)
        with tenantjobs.batch(on_success=ship.call(order)):
            tenantjobs.chain(work.call(1), ship.call(order)).perform_later()
    drain()

    assert happened == [1, "new", "new"]


@pytest.mark.usefixtures("maker")
def test_a_transactional_job_tells_its_batch_and_its_chain_by_its_own_commit(
    ready: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with testing.override(adapter="db", db={"engine": ready}):
        with tenantjobs.batch(**CALLBACKS) as batch:
            tenantjobs.chain(transactional.call("a"), transactional.call("b")).perform_later()
        monkeypatch.setattr("tenantjobs.following.Following.after", _nothing)  # the worker is dead by then
        drain()

        assert happened == ["a", "b", "success", "finish"]
        assert (batch.done, batch.finished) == (2, True)


@pytest.mark.usefixtures("maker")
def test_of_two_that_end_by_their_own_commits_at_once_the_second_sees_the_first(
    ready: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ready.dialect.name == "sqlite":
        pytest.skip("one transaction writes at a time there")
    settle, together = concluding.settle, threading.Barrier(2)

    def both_at_once(*args: Any, **kwargs: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)  # in vain: the other one waits for the batch
        return settle(*args, **kwargs)

    with testing.override(adapter="db", db={"engine": ready}):
        with tenantjobs.batch(on_success=success) as batch:
            transactional.perform_later("a")
            transactional.perform_later("b")
        monkeypatch.setattr(concluding, "settle", both_at_once)
        monkeypatch.setattr("tenantjobs.following.Following.after", _nothing)  # the workers are dead by then
        with ready.connect() as connection:
            envelopes = list(connection.scalars(select(tables.jobs.c.data)))
        threads = [threading.Thread(target=tenantjobs.perform, args=(data,)) for data in envelopes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (batch.done, batch.finished) == (2, True)


@pytest.mark.usefixtures("maker")
def test_one_that_ends_while_another_is_about_to_commit_waits_for_that_and_concludes(
    ready: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ready.dialect.name == "sqlite":
        pytest.skip("one transaction writes at a time there")
    decided, settle = threading.Event(), concluding.settle

    def slowly(*args: Any, **kwargs: Any) -> Any:
        due = settle(*args, **kwargs)
        if not decided.is_set():
            decided.set()
            time.sleep(0.5)
        return due

    with testing.override(adapter="db", db={"engine": ready}):
        with tenantjobs.batch(on_success=success) as batch:
            transactional.perform_later("a")
            work.perform_later(1)
        with ready.connect() as connection:
            found = connection.execute(select(tables.jobs.c.name, tables.jobs.c.data)).all()
        by_name = {row.name: row.data for row in found}
        monkeypatch.setattr(concluding, "settle", slowly)
        thread = threading.Thread(target=tenantjobs.perform, args=(by_name[transactional.name],))
        thread.start()
        assert decided.wait(10)
        tenantjobs.perform(by_name[work.name])
        thread.join()

        assert (batch.done, batch.finished) == (2, True)


async def _nothing(_: object, outcome: Any, __: object) -> Any:
    return outcome


@pytest.mark.usefixtures("maker")
def test_one_that_fails_tells_it_too(ready: Engine) -> None:
    with testing.override(adapter="db", db={"engine": ready}):
        with tenantjobs.batch(**CALLBACKS) as batch:
            failing.perform_later()
            transactional.perform_later("c")
        drain()

        assert sorted(happened) == ["c", "failure", "finish"]
        assert (batch.done, batch.failed) == (1, 1)


@pytest.mark.usefixtures("amaker")
async def test_an_async_transaction_takes_a_batch_along(amaker: AMaker, configured: str) -> None:
    async with amaker.begin():
        async with tenantjobs.batch(**CALLBACKS):
            await work.aperform_later(1)
            await tenantjobs.chain(work.call(2), work.call(3)).aperform_later()
        with tenantjobs.batch(**CALLBACKS):
            pass
    with pytest.raises(ZeroDivisionError):
        async with amaker.begin():
            async with tenantjobs.batch(**CALLBACKS):
                await work.aperform_later(4)
            raise ZeroDivisionError
    drain()

    assert sorted(happened, key=str) == [1, 2, 3, "finish", "finish", "success", "success"]

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

import tenantjobs
from tenantjobs import Current, adapter, current_job, discard_on, idempotent, job, retry_on, testing, unique
from tenantjobs.errors import ConfigurationError, SerializationError, UnsupportedCapability
from tenantjobs.testing import enqueued_jobs, failed_jobs
from tenantjobs.testing.time import movable_clock

pytestmark = pytest.mark.usefixtures("memory", "acme")

happened: list[Any] = []


class ChainCurrent(tenantjobs.Current):
    chain_request: str | None = None


@pytest.fixture(autouse=True)
def fresh() -> None:
    happened.clear()


@pytest.fixture
def work() -> Any:
    @job(name="work")
    def work(number: int) -> None:
        happened.append((number, Current.tenant_id))

    return work


@pytest.fixture
def bad() -> Any:
    @job(name="bad")
    def bad() -> None:
        raise ZeroDivisionError

    return bad


@pytest.fixture
def signed() -> Iterator[Any]:
    with testing.override(adapter="test", signing={"keys": ["k1:0123456789abcdef0123456789abcdef"]}):
        yield adapter.configured()


def numbers() -> list[int]:
    return [number for number, _ in happened]


@pytest.mark.parity("1c.17")
def test_each_job_is_enqueued_when_the_one_before_has_succeeded(work: Any) -> None:
    handle = tenantjobs.chain(work.call(1), work.call(2), work.call(3)).perform_later()

    assert [waiting.id for waiting in enqueued_jobs()] == [handle.job_id]

    testing.perform_enqueued_jobs()
    assert (numbers(), [waiting.args for waiting in enqueued_jobs()]) == ([1], [(2,)])
    assert testing.drain() == 2
    assert numbers() == [1, 2, 3]


def test_all_of_them_have_the_scope_of_the_call(work: Any) -> None:
    @job(name="asks")
    def asks() -> None:
        happened.append((ChainCurrent.chain_request, Current.tenant_id))

    with ChainCurrent.set(chain_request="r1"):
        tenantjobs.chain(asks.call(), asks.call()).perform_later()
    with Current.switch("elsewhere", tenant_id="globex"):
        testing.drain()

    assert happened == [("r1", "acme"), ("r1", "acme")]


def test_a_failure_ends_the_chain_and_the_log_says_where(work: Any, bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    tenantjobs.chain(work.call(1), bad.call(), work.call(2), work.call(3)).perform_later()
    testing.drain()

    assert numbers() == [1]
    assert enqueued_jobs() == []
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tenantjobs.chains"]
    assert line.startswith("stopped bad id=")
    assert line.count("work id=") == 2


def test_so_does_a_job_that_is_discarded(work: Any) -> None:
    @job(name="discarded", policies=[discard_on(LookupError)])
    def discarded() -> None:
        raise LookupError

    tenantjobs.chain(discarded.call(), work.call(1)).perform_later()
    testing.drain()

    assert (happened, enqueued_jobs()) == ([], [])


def test_a_retry_holds_the_chain_up_and_does_not_end_it(work: Any) -> None:
    @job(name="flaky", policies=[retry_on(ConnectionError, wait=0)])
    def flaky() -> None:
        running = current_job()
        assert running is not None
        happened.append((-running.attempt, None))
        if running.attempt == 1:
            raise ConnectionError

    tenantjobs.chain(flaky.call(), work.call(1)).perform_later()
    testing.drain()

    assert numbers() == [-1, -2, 1]


def test_a_wait_counts_from_the_turn_of_the_job_and_a_moment_is_one(work: Any) -> None:
    moment = datetime.now(UTC) + timedelta(hours=2)
    with movable_clock() as clock:
        tenantjobs.chain(
            work.set(wait=3600).call(1), work.set(wait=60).call(2), work.set(wait_until=moment).call(3)
        ).perform_later()
        clock.move(3601)
        testing.drain()
        assert numbers() == [1]
        clock.move(50)
        assert testing.drain() == 0
        clock.move(11)
        testing.drain()

        assert numbers() == [1, 2]
        assert [waiting.due_at for waiting in enqueued_jobs()] == [moment]


def test_queue_and_priority_are_those_of_each_job(work: Any) -> None:
    tenantjobs.chain(work.call(1), work.set(queue="low", priority=7).call(2)).perform_later()
    testing.perform_enqueued_jobs()

    assert [(waiting.queue, waiting.priority) for waiting in enqueued_jobs()] == [("low", 7)]


def test_values_are_those_of_the_call() -> None:
    @job(name="collects")
    def collects(values: list[int]) -> None:
        happened.append((sum(values), None))

    values = [1]
    tenantjobs.chain(collects.call([]), collects.call(values)).perform_later()
    values.append(2)
    testing.drain()

    assert numbers() == [0, 1]


def test_what_cannot_travel_is_refused_before_anything_is_enqueued(work: Any) -> None:
    @job(name="takes")
    def takes(value: Any) -> None: ...

    with pytest.raises(SerializationError):
        tenantjobs.chain(work.call(1), takes.call(object())).perform_later()
    with (
        testing.override(adapter="test", size_limit=20_000),
        pytest.raises(SerializationError, match="over the limit"),
    ):
        tenantjobs.chain(work.call(1), takes.call("x" * 12_000), takes.call("x" * 12_000)).perform_later()
    with testing.override(adapter="inline"), pytest.raises(UnsupportedCapability, match="delay"):
        tenantjobs.chain(work.call(1), work.set(wait=5).call(2)).perform_later()
    assert enqueued_jobs() == []


@pytest.mark.parametrize("calls", [(), (len,), ("work",)])
def test_what_is_no_call_is_refused(calls: Any) -> None:
    with pytest.raises(ConfigurationError, match="chain"):
        tenantjobs.chain(*calls)


def test_a_chain_needs_no_ledger(work: Any) -> None:
    with testing.override(adapter="inline"):
        tenantjobs.chain(work.call(1), work.call(2)).perform_later()

    assert numbers() == [1, 2]


def test_a_chain_that_is_taken_back_does_not_take_place(work: Any) -> None:
    assert tenantjobs.chain(work.call(1), work.call(2)).perform_later().cancel()
    assert testing.drain() == 0


async def test_it_is_enqueued_without_blocking_too(work: Any) -> None:
    await tenantjobs.chain(work.call(1), work.call(2)).aperform_later()
    testing.drain()

    assert numbers() == [1, 2]


def test_keys_of_later_jobs_are_their_own(work: Any) -> None:
    @job(name="once", policies=[idempotent(key=lambda number: f"n:{number}")])
    def once(number: int) -> None:
        happened.append((number, None))

    tenantjobs.chain(once.call(1), once.call(2), once.call(1), work.call(3)).perform_later()
    testing.drain()

    assert numbers() == [1, 2, 3]


def test_a_later_job_takes_its_lock_when_its_turn_comes_and_a_duplicate_ends_the_chain(
    work: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @job(name="alone", policies=[unique("until_executed", key=lambda number: "k")])
    def alone(number: int) -> None:
        happened.append((number, None))

    tenantjobs.chain(work.call(1), alone.call(2), work.call(3)).perform_later()
    blocker = alone.set(wait=60).perform_later(4)
    assert blocker.enqueued, "the lock is free until then"
    testing.drain()

    assert numbers() == [1]
    assert "chain stopped before job alone" in caplog.text


@pytest.mark.parametrize("change", ["drop", "swap", "cut", "none"])
def test_the_rest_of_a_chain_travels_under_the_signature_of_its_job(work: Any, signed: Any, change: str) -> None:
    tenantjobs.chain(work.call(1), work.call(2), work.call(3)).perform_later()
    envelope = msgspec.json.decode(signed._waiting[0])
    if change == "drop":
        del envelope["chain"]
    elif change == "swap":
        envelope["chain"].reverse()
    elif change == "cut":
        envelope["chain"].pop()
    signed._waiting[:] = [msgspec.json.encode(envelope)]
    testing.drain()

    errors = [type(each.error).__name__ for each in failed_jobs()]
    assert (numbers(), errors) == (([1, 2, 3], []) if change == "none" else ([], ["BadSignature"]))


def test_a_chain_in_a_batch_keeps_it_open_to_its_end(work: Any) -> None:
    @job(name="success")
    def success() -> None:
        happened.append(("success", None))

    with tenantjobs.batch(on_success=success) as batch:
        tenantjobs.chain(work.call(1), work.call(2)).perform_later()
    assert batch.total == 2

    testing.perform_enqueued_jobs()
    assert (batch.done, batch.finished) == (1, False)

    testing.drain()
    assert numbers() == [1, 2, "success"]
    assert (batch.total, batch.done) == (2, 2)


def test_when_it_stops_what_was_to_follow_has_failed_with_it(work: Any, bad: Any) -> None:
    with tenantjobs.batch() as batch:
        tenantjobs.chain(bad.call(), work.call(1), work.call(2)).perform_later()
    testing.drain()

    assert (batch.total, batch.failed, batch.finished) == (3, 3, True)


def test_a_chain_in_a_batch_that_is_taken_back_leaves_it(work: Any) -> None:
    with tenantjobs.batch() as batch:
        handle = tenantjobs.chain(work.call(1), work.call(2)).perform_later()
        work.perform_later(3)
    handle.cancel()
    testing.drain()

    assert (numbers(), batch.total, batch.finished) == ([3], 1, True)

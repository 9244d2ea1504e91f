from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import tenantjobs
from tenantjobs import (
    Abort,
    Batch,
    Current,
    Job,
    adapter,
    before_enqueue,
    current_batch,
    current_job,
    discard_on,
    guard,
    job,
    perform_all_later,
    retry_on,
    testing,
    unique,
)
from tenantjobs.errors import (
    ConfigurationError,
    CrossTenantSwitch,
    EnqueueError,
    SerializationError,
    TenantMissing,
    WrongTenant,
)
from tenantjobs.testing import enqueued_jobs, failed_jobs

pytestmark = pytest.mark.usefixtures("memory", "acme")

happened: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    happened.clear()


@pytest.fixture
def work() -> Any:
    @job(name="work")
    def work(number: int) -> None:
        happened.append(number)

    return work


@pytest.fixture
def bad() -> Any:
    @job(name="bad")
    def bad() -> None:
        raise ZeroDivisionError

    return bad


def saying(what: str) -> Any:
    """A callback that says so."""

    @job(name=f"says.{what}")
    def say() -> None:
        happened.append(what)

    return say


def callbacks(prefix: str = "") -> dict[str, Any]:
    return {f"on_{name}": saying(prefix + name) for name in ("success", "failure", "finish")}


def redelivered(deliver: Callable[[], object]) -> None:
    """Perform what waits, with every message delivered twice."""
    waiting = adapter.configured()._waiting  # type: ignore[attr-defined]  # the memory adapter's own list
    waiting.extend(list(waiting))
    deliver()


@pytest.mark.parity("1c.17")
def test_jobs_of_a_block_leave_at_its_end_and_success_is_called_when_all_have_finished(work: Any) -> None:
    with tenantjobs.batch(**callbacks()) as batch:
        first = work.perform_later(1)
        perform_all_later([work.call(2), work.call(3)])

        assert (first.enqueued, enqueued_jobs(), batch.total) == (None, [], 3)

    assert first.enqueued
    assert batch.state() == tenantjobs.BatchState(total=3, done=0, failed=0, finished=False)

    testing.drain()

    assert happened == [1, 2, 3, "success", "finish"]
    assert (batch.total, batch.done, batch.failed, batch.pending, batch.finished) == (3, 3, 0, 0, True)


@pytest.mark.parity("1c.17")
def test_failure_is_called_once_for_the_first_job_that_failed_and_finish_when_all_have_ended(
    work: Any, bad: Any
) -> None:
    with tenantjobs.batch(**callbacks()) as batch:
        bad.perform_later()
        bad.perform_later()
        work.set(wait=3600).perform_later(1)
    testing.drain()

    assert happened == ["failure"]
    assert (batch.failed, batch.finished) == (2, False)

    testing.perform_enqueued_jobs(at=enqueued_jobs()[0].due_at)
    testing.drain()

    assert happened == ["failure", 1, "finish"]
    assert (batch.done, batch.failed, batch.finished) == (1, 2, True)


def test_a_batch_that_has_failed_never_succeeds_whoever_performs_the_job_again(work: Any) -> None:
    @job(name="second time only")
    def again() -> None:
        happened.append("again")
        if happened.count("again") == 1:
            raise ZeroDivisionError

    with tenantjobs.batch(**callbacks()) as batch:
        again.perform_later()
        work.set(wait=60).perform_later(1)
    data = adapter.configured()._waiting[0]  # type: ignore[attr-defined]  # the memory adapter's own list
    testing.drain()
    tenantjobs.perform(data)
    assert (batch.done, batch.failed) == (1, 0)

    testing.perform_enqueued_jobs(at=enqueued_jobs()[0].due_at)
    testing.drain()

    assert happened == ["again", "failure", "again", 1, "finish"]


def test_a_batch_of_another_tenant_is_not_nested(work: Any) -> None:
    with tenantjobs.batch(), Current.switch("other", tenant_id="globex"), pytest.raises(CrossTenantSwitch):
        tenantjobs.batch()


@pytest.mark.parity("1c.17")
def test_a_discarded_job_has_failed() -> None:
    @job(name="discarded", policies=[discard_on(LookupError)])
    def discarded() -> None:
        raise LookupError

    with tenantjobs.batch(**callbacks()):
        discarded.perform_later()
    testing.drain()

    assert happened == ["failure", "finish"]


def test_a_retry_is_not_the_end_of_a_job() -> None:
    @job(name="flaky", policies=[retry_on(ConnectionError, wait=0, attempts=3)])
    def flaky() -> None:
        running = current_job()
        assert running is not None
        happened.append(running.attempt)
        if running.attempt < 3:
            raise ConnectionError

    with tenantjobs.batch(**callbacks()) as batch:
        flaky.perform_later()
    testing.drain()

    assert happened == [1, 2, 3, "success", "finish"]
    assert (batch.total, batch.done) == (1, 1)


def test_a_job_that_is_skipped_has_not_failed() -> None:
    @job(name="guarded", policies=[guard(lambda: False)])
    def guarded() -> None: ...

    with tenantjobs.batch(on_success=saying("success")):
        guarded.perform_later()
    testing.drain()

    assert happened == ["success"]


@pytest.mark.parity("1c.17")
def test_a_job_that_is_delivered_twice_counts_once_and_so_does_a_callback(work: Any) -> None:
    with tenantjobs.batch(**callbacks()) as batch:
        work.perform_later(1)
        work.perform_later(2)
    redelivered(testing.perform_enqueued_jobs)
    assert (batch.done, batch.finished) == (2, True)
    redelivered(testing.drain)

    assert sorted(set(happened), key=str) == [1, 2, "finish", "success"]
    assert (happened.count(1), happened.count("success"), happened.count("finish")) == (3, 1, 1)
    assert (batch.total, batch.done) == (2, 2)


def test_a_duplicate_that_fails_takes_nothing_back(work: Any) -> None:
    @job(name="first time only")
    def once() -> None:
        happened.append("once")
        if happened.count("once") > 1:
            raise ZeroDivisionError

    with tenantjobs.batch(**callbacks()) as batch:
        once.perform_later()
        work.set(wait=60).perform_later(1)
    redelivered(lambda: testing.perform_enqueued_jobs(only=once))

    assert (batch.done, batch.failed) == (1, 0)


@pytest.mark.parity("1c.17", "1b.39")
def test_an_empty_batch_calls_back_at_once() -> None:
    with tenantjobs.batch(**callbacks()) as batch:
        pass

    assert [waiting.name for waiting in enqueued_jobs()] == ["says.success", "says.finish"]

    testing.drain()

    assert happened == ["success", "finish"]
    assert batch.finished
    assert Batch.find(batch.id) == batch


@pytest.mark.parametrize("refusal", ["abort", "duplicate", "cancel"])
def test_jobs_that_are_not_enqueued_do_not_leave_a_batch_open(work: Any, refusal: str) -> None:
    def refuse() -> None:
        raise Abort

    @job(name="refused", policies=[before_enqueue(refuse)] if refusal == "abort" else [unique("until_executed")])
    def refused() -> None: ...

    if refusal == "duplicate":
        refused.perform_later()
    with tenantjobs.batch(**callbacks()) as batch:
        handle = refused.perform_later()
        if refusal == "cancel":
            handle.cancel()
    testing.drain()

    assert handle.enqueued is False
    assert happened == ["success", "finish"]
    assert batch.finished


def test_one_duplicate_among_others_is_no_part_of_the_batch(work: Any) -> None:
    @job(name="only", policies=[unique("until_executed")])
    def only() -> None: ...

    only.set(wait=60).perform_later()
    with tenantjobs.batch(**callbacks()) as batch:
        only.perform_later()
        work.perform_later(1)
    testing.drain()

    assert happened == [1, "success", "finish"]
    assert batch.total == 1


def test_a_job_that_is_cancelled_later_leaves_its_batch(work: Any) -> None:
    with tenantjobs.batch(on_success=saying("success")) as batch:
        work.perform_later(1)
        last = work.set(wait=60).perform_later(2)
    testing.drain()
    assert last.cancel()
    testing.drain()

    assert happened == [1, "success"]
    assert batch.total == 1


def test_one_that_is_replaced_does_too(work: Any) -> None:
    @job(name="latest", policies=[unique("until_executed", key=lambda _: "k", on_conflict="replace")])
    def latest(number: int) -> None:
        happened.append(number)

    with tenantjobs.batch(on_success=saying("success")):
        latest.perform_later(1)
    latest.perform_later(2)
    testing.drain()

    assert sorted(happened, key=str) == [2, "success"]


@pytest.mark.parity("1c.17")
def test_an_error_in_the_block_drops_what_was_gathered(work: Any) -> None:
    with pytest.raises(ZeroDivisionError), tenantjobs.batch(**callbacks()) as batch:
        handle = work.perform_later(1)
        raise ZeroDivisionError

    assert handle.enqueued is False
    assert testing.drain() == 0
    assert Batch.find(batch.id) is None


def test_a_queue_that_refuses_leaves_no_batch(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise ConnectionError("down")

    monkeypatch.setattr(adapter.configured(), "enqueue_all", refuse)
    with pytest.raises(ConnectionError), tenantjobs.batch(**callbacks()) as batch:
        work.perform_later(1)

    assert Batch.find(batch.id) is None


@pytest.mark.parity("1b.39")
def test_a_callback_that_could_not_be_sent_is_sent_by_the_job_that_comes_back(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenantjobs.batch(**callbacks()):
        work.perform_later(1)
    queue: Any = adapter.configured()
    enqueue_all, calls = queue.enqueue_all, []

    def down_at_first(envelopes: Any) -> None:
        calls.append(envelopes)
        if len(calls) == 1:
            raise ConnectionError("down")
        enqueue_all(envelopes)

    monkeypatch.setattr(queue, "enqueue_all", down_at_first)
    testing.drain()
    assert happened == [1]

    testing.perform_enqueued_jobs(at=enqueued_jobs()[0].due_at)
    testing.drain()

    assert happened == [1, 1, "success", "finish"]


@pytest.mark.parity("1c.17")
def test_a_callback_knows_its_batch(work: Any) -> None:
    @job(name="told")
    def told(batch: Batch) -> None:
        assert current_batch() == batch
        happened.append([batch.id, batch.description, batch.properties, batch.done, Current.tenant_id])

    class Report(Job):
        name = "report"

        def perform(self, user: int) -> None:
            batch = current_batch()
            assert batch is not None
            happened.append([user, batch.properties["file"], batch.total])

    with tenantjobs.batch(
        on_success=told, on_finish=Report.call(7), description="import", properties={"file": "a.csv"}
    ) as batch:
        work.perform_later(1)
    with Current.switch("another tenant", tenant_id="globex"):
        testing.drain()

    assert happened == [1, [batch.id, "import", {"file": "a.csv"}, 1, "acme"], [7, "a.csv", 1]]


def test_a_callback_may_wait_from_the_end_of_the_batch_on(work: Any) -> None:
    with tenantjobs.batch(on_success=saying("success").set(wait=60).call()):
        work.set(wait=3600).perform_later(1)
    first = enqueued_jobs()[0].due_at
    with testing.time.movable_clock() as clock:
        clock.move(3601)
        testing.drain()
        (callback,) = enqueued_jobs()

    assert first is not None
    assert callback.due_at is not None
    assert 55 < (callback.due_at - first).total_seconds() < 65


@pytest.mark.parity("1c.17")
def test_a_running_job_adds_jobs_to_its_batch(work: Any) -> None:
    @job(name="adding")
    def adding() -> None:
        batch = current_batch()
        assert batch is not None
        batch.add(work.call(1), work.call(2))
        work.perform_later(3)

    with tenantjobs.batch(on_success=saying("success")) as batch:
        adding.perform_later()
    testing.drain()

    assert happened == [1, 2, 3, "success"]
    assert batch.total == 3, "what is just enqueued is no part of it"


@pytest.mark.parity("1c.17", "1b.39")
def test_nothing_is_added_to_a_batch_that_has_ended(work: Any) -> None:
    with tenantjobs.batch() as batch:
        batch.add(work.call(1))
    testing.drain()

    with pytest.raises(EnqueueError, match="has ended"):
        batch.add(work.call(2))
    assert (happened, enqueued_jobs()) == ([1], [])


@pytest.mark.parity("1c.17")
def test_a_batch_that_is_nested_keeps_the_outer_one_open(work: Any) -> None:
    with tenantjobs.batch(**callbacks("outer ")) as outer:
        work.perform_later(1)
        with tenantjobs.batch(**callbacks("inner ")) as inner:
            work.set(wait=60).perform_later(2)
        assert (enqueued_jobs(), outer.total, inner.total) == ([], 1, 1)
    testing.drain()

    assert happened == [1]
    assert not outer.finished

    testing.perform_enqueued_jobs(at=enqueued_jobs()[0].due_at)
    testing.drain()

    assert happened == [1, 2, "inner success", "inner finish", "outer success", "outer finish"]
    assert (outer.total, inner.total) == (3, 1), "what a nested batch calls back is a job of the outer one"


def test_a_failure_in_a_nested_batch_is_one_of_the_outer_one(work: Any, bad: Any) -> None:
    with tenantjobs.batch(**callbacks("outer ")):
        work.set(wait=60).perform_later(1)
        with tenantjobs.batch(**callbacks("inner ")):
            bad.perform_later()
    testing.drain()

    assert happened == ["inner failure", "inner finish", "outer failure"]

    testing.perform_enqueued_jobs(at=enqueued_jobs()[0].due_at)
    testing.drain()

    assert happened[3:] == [1, "outer finish"]


def test_a_running_job_nests_a_batch_in_its_own(work: Any) -> None:
    @job(name="nesting")
    def nesting() -> None:
        with tenantjobs.batch(on_success=saying("inner"), parent=current_batch()):
            work.perform_later(1)

    with tenantjobs.batch(on_success=saying("outer")):
        nesting.perform_later()
    testing.drain()

    assert happened == [1, "inner", "outer"]


def test_an_inner_block_that_is_given_up_leaves_the_outer_one_alone(work: Any) -> None:
    with tenantjobs.batch(on_success=saying("outer")):
        work.perform_later(1)
        try:
            with tenantjobs.batch(on_success=saying("inner")):
                work.perform_later(2)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    testing.drain()

    assert happened == [1, "outer"]


def test_an_empty_nested_batch_calls_back_within_the_outer_one(work: Any) -> None:
    with tenantjobs.batch(on_success=saying("outer")) as outer, tenantjobs.batch(on_success=saying("inner")):
        pass
    testing.drain()

    assert happened == ["inner", "outer"]
    assert outer.finished


def test_a_batch_is_seen_by_its_own_tenant_and_by_the_system(work: Any) -> None:
    with tenantjobs.batch() as batch:
        work.perform_later(1)

    assert Batch.find(batch.id) == batch
    with Current.switch("look", tenant_id="globex"):
        assert Batch.find(batch.id) is None
    with Current.system("look"):
        assert Batch.find(batch.id) == batch


def test_a_look_without_a_tenant_is_refused(memory: None) -> None:
    from contextvars import Context

    with pytest.raises(TenantMissing):
        Context().run(Batch.find, "x")


def test_a_batch_of_another_tenant_is_no_argument(work: Any) -> None:
    @job(name="given")
    def given(batch: Batch) -> None: ...

    with tenantjobs.batch() as batch:
        work.perform_later(1)
    with Current.switch("try", tenant_id="globex"), pytest.raises(WrongTenant):
        given.perform_later(batch)


def test_jobs_of_another_tenant_do_not_belong_into_a_batch_of_one(work: Any) -> None:
    with (
        pytest.raises(CrossTenantSwitch, match="batch of tenant acme"),
        tenantjobs.batch(),
        Current.switch("other", tenant_id="globex"),
    ):
        work.perform_later(1)


def test_a_batch_of_the_system_takes_jobs_of_all_tenants(work: Any) -> None:
    with Current.system("nightly"):
        with tenantjobs.batch(on_success=saying("success")) as batch:
            for tenant in ("acme", "globex"):
                with Current.set(tenant_id=tenant):
                    work.perform_later(1)
        testing.drain()

        assert happened == [1, 1, "success"]
        assert batch.tenant_id is None


def test_where_there_is_no_ledger_a_batch_is_refused_at_the_call() -> None:
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match="InlineAdapter has no ledger"):
        tenantjobs.batch()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"on_success": print}, ConfigurationError, "a job is wanted"),
        ({"on_finish": "needs arguments"}, ConfigurationError, "a job is wanted"),
        ({"description": 7}, ConfigurationError, "a text is wanted"),
        ({"properties": [1]}, ConfigurationError, "a mapping by names"),
        ({"properties": {"a": object()}}, SerializationError, "are JSON"),
        ({"parent": "b"}, ConfigurationError, "current_batch"),
    ],
)
def test_mistakes_are_said_at_the_call(options: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        tenantjobs.batch(**options)


def test_a_callback_that_lacks_arguments_is_refused_at_the_call(work: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"missing.*number.*give it a call"):
        tenantjobs.batch(on_success=work)


def test_a_block_is_entered_once() -> None:
    block = tenantjobs.batch()
    with block:
        pass
    with pytest.raises(ConfigurationError, match="made by one block"), block:
        pass


@pytest.mark.parity("1c.17")
async def test_an_async_block_does_the_same(work: Any) -> None:
    async with tenantjobs.batch(on_success=saying("success")) as batch:
        await work.aperform_later(1)
        await batch.aadd(work.call(2))
        assert enqueued_jobs() == []
    assert await Batch.afind(batch.id) == batch
    assert (await batch.astate()).total == 2
    testing.drain()

    assert happened == [1, 2, "success"]


def test_a_message_of_an_unknown_job_counts_as_failed(work: Any, registry: Any) -> None:
    with tenantjobs.batch(on_failure=saying("failure")):
        work.perform_later(1)
    del registry["work"]
    testing.drain()

    assert happened == ["failure"]


def test_a_failing_callback_does_not_open_the_batch_again(work: Any, bad: Any) -> None:
    with tenantjobs.batch(on_success=bad, on_failure=saying("failure")) as batch:
        work.perform_later(1)
    testing.drain()

    assert (happened, batch.failed, len(failed_jobs())) == ([1], 0, 1)


def test_the_batch_travels_under_the_signature(work: Any) -> None:
    with testing.override(adapter="test", signing={"keys": ["k1:0123456789abcdef0123456789abcdef"]}):
        with tenantjobs.batch(on_failure=saying("failure")) as batch:
            work.perform_later(1)
        queue: Any = adapter.configured()
        (data,) = queue._waiting
        envelope = msgspec.json.decode(data)
        assert envelope["keys"]["batch"] == batch.id
        envelope["keys"]["batch"] = "another"
        queue._waiting[:] = [msgspec.json.encode(envelope)]
        testing.drain()

        assert happened == []
        assert [type(each.error).__name__ for each in failed_jobs()] == ["BadSignature"]

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import pytest

import tenantjobs
from tenantjobs import Abort, adapter, before_enqueue, discard_on, guard, instrumentation, job, retry_on, testing
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError, Interruption
from tenantjobs.execution import aexecute, execute
from tenantjobs.instrumentation import (
    Enqueued,
    EnqueueDropped,
    EnqueueRefused,
    Enqueuing,
    Event,
    Performed,
    Started,
)
from tenantjobs.outcome import Retried
from tests.tenantjobs.enqueued import enqueued

E = TypeVar("E", bound=Event)

heard: list[Any] = []


def refuse(_number: int) -> None:
    raise Abort("not today")


@job(name="told.works")
def works(number: int = 0) -> int:
    return number


@job(name="told.works_async")
async def works_async(number: int = 0) -> int:
    return number


@job(name="told.flaky", policies=[retry_on(ConnectionError, wait=60, attempts=2)])
def flaky() -> None:
    raise ConnectionError("down")


@job(name="told.given_up", policies=[discard_on(KeyError)])
def given_up() -> None:
    raise KeyError("gone")


@job(name="told.stopped")
def stopped() -> None:
    raise Interruption("the worker stops")


@job(name="told.skipped", policies=[guard(lambda: False)])
def skipped() -> None: ...


@job(name="told.aborted", policies=[before_enqueue(refuse)])
def aborted(number: int) -> None: ...


class Many(tenantjobs.Job):
    name = "told.many"

    def perform(self) -> None:
        works.perform_later(1)


@pytest.fixture(autouse=True)
def heard_of(memory: None, acme: None) -> Iterator[None]:
    heard.clear()
    with tenantjobs.subscribe(heard.append):
        yield


def kinds() -> list[str]:
    return [type(event).__name__ for event in heard]


def those(kind: type[E]) -> list[E]:
    return [event for event in heard if isinstance(event, kind)]


def performed(data: bytes) -> Performed:
    execute(data)
    return those(Performed)[-1]


def again(data: bytes) -> Envelope:
    outcome = execute(data)
    assert isinstance(outcome, Retried)
    return outcome.again()


@pytest.mark.parity("1a.38")
@pytest.mark.parametrize("target", [works, works_async, Many], ids=["function", "async function", "class"])
def test_a_job_is_told_of_from_its_call_to_its_end(target: Any) -> None:
    handle = target.perform_later()
    testing.drain()

    told = [(event, job) for event in heard if (job := event.job).id == handle.job_id]
    assert [type(event) for event, _ in told] == [Enqueuing, Enqueued, Started, Performed]
    assert {(job.tenant_id, job.name, job.queue) for _, job in told} == {("acme", handle.name, "default")}
    assert [job.attempt for _, job in told] == [0, 0, 1, 1]


async def test_a_job_that_is_enqueued_and_performed_on_a_loop_is_told_of_alike() -> None:
    await works_async.aperform_later(1)
    assert kinds() == ["Enqueuing", "Enqueued"]

    await aexecute(enqueued(works_async.perform_later, 2))
    assert kinds()[-2:] == ["Started", "Performed"]


@pytest.mark.parity("1a.38")
@pytest.mark.parametrize(
    ("target", "outcome", "error", "note"),
    [
        (works, "finished", type(None), None),
        (skipped, "finished", type(None), "its guard said no"),
        (flaky, "retried", ConnectionError, None),
        (given_up, "discarded", KeyError, "its declaration discards this error"),
    ],
    ids=["finished", "skipped", "retried", "discarded"],
)
def test_only_what_is_done_has_finished(target: Any, outcome: str, error: type, note: str | None) -> None:
    event = performed(enqueued(target.perform_later))

    assert (event.outcome, type(event.error), event.note) == (outcome, error, note)


@pytest.mark.parity("1a.38")
def test_a_failure_is_told_with_its_error() -> None:
    event = performed(again(enqueued(flaky.perform_later)).encode())

    assert (event.outcome, event.job.attempt, str(event.error)) == ("failed", 2, "down")


@pytest.mark.parity("1a.38")
def test_an_interrupted_attempt_has_ended_too() -> None:
    data = enqueued(stopped.perform_later)
    with pytest.raises(Interruption):
        execute(data)

    assert kinds()[-2:] == ["Started", "Performed"]
    assert those(Performed)[-1].outcome == "interrupted"


@pytest.mark.parity("1a.13", "1a.38")
@pytest.mark.parametrize("target", [works, Many], ids=["function", "class"])
def test_perform_now_is_told_of_as_what_no_queue_knows(target: Any) -> None:
    target.perform_now()

    started, performed = those(Started)[0], those(Performed)[-1]
    assert started.job is performed.job
    assert (started.job.name, started.job.tenant_id, started.job.attempt) == (target.name, "acme", 1)
    assert [(event.now, event.wait) for event in (started, performed)] == [(True, 0.0)] * 2
    assert (performed.outcome, performed.error) == ("finished", None)
    assert performed.run > 0


async def test_perform_now_of_an_async_job_is_told_of_alike() -> None:
    assert await works_async.perform_now(3) == 3

    assert kinds() == ["Started", "Performed"]
    assert those(Performed)[0].outcome == "finished"


@pytest.mark.parity("1a.13", "1a.38")
@pytest.mark.parametrize(
    ("target", "outcome", "note", "raised"),
    [
        (skipped, "finished", "its guard said no", ()),
        (given_up, "discarded", "its declaration discards this error", ()),
        (flaky, "failed", None, ConnectionError),
        (stopped, "interrupted", None, Interruption),
    ],
)
def test_perform_now_tells_what_came_of_it(target: Any, outcome: str, note: str | None, raised: Any) -> None:
    with pytest.raises(raised) if raised else nullcontext():
        target.perform_now()

    assert kinds() == ["Started", "Performed"]
    assert (those(Performed)[0].outcome, those(Performed)[0].note) == (outcome, note)


def test_what_the_caller_of_perform_now_did_wrong_is_no_attempt() -> None:
    with pytest.raises(TypeError):
        works.perform_now(1, 2, 3)

    assert kinds() == []


@pytest.mark.parity("1a.38")
def test_a_retry_says_when_it_runs_and_waits_from_then_on(tenantjobs_clock: testing.Clock) -> None:
    retry = again(enqueued(flaky.perform_later))
    assert those(Performed)[-1].due_at == retry.due_at

    tenantjobs_clock.move(timedelta(seconds=100))
    execute(retry.encode())
    assert 20 < those(Started)[-1].wait < 60  # it was due after 51 to 69 seconds, and is late by the rest
    assert those(Performed)[-1].wait == those(Started)[-1].wait


@pytest.mark.parity("1a.38")
def test_a_hook_that_aborts_is_told_as_what_refused_the_job() -> None:
    aborted.perform_later(1)

    assert kinds() == ["Enqueuing", "EnqueueRefused"]
    assert isinstance(those(EnqueueRefused)[0].error, Abort)


@pytest.mark.parity("1a.17", "1a.38")
def test_a_queue_that_does_not_answer_is_told_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise EnqueueError("down")

    monkeypatch.setattr(type(adapter.configured()), "enqueue", down)
    with pytest.raises(EnqueueError):
        works.perform_later(1)

    assert kinds() == ["Enqueuing", "EnqueueRefused"]


@pytest.mark.parity("1a.38")
def test_a_job_that_is_dropped_with_its_transaction_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []
    monkeypatch.setattr("tenantjobs.transaction.hold", lambda jobs, adapter: bool(held.extend(jobs) or True))
    works.perform_later(1)
    assert kinds() == ["Enqueuing"]
    held[0].dropped("the transaction was rolled back")

    assert kinds() == ["Enqueuing", "EnqueueDropped"]
    assert those(EnqueueDropped)[0].reason == "the transaction was rolled back"


def test_a_message_that_may_not_be_run_is_told_of() -> None:
    execute(b"no envelope")

    assert kinds() == ["Quarantined"]


@pytest.mark.parity("1a.38")
def test_a_listener_hears_what_it_has_subscribed_to() -> None:
    some: list[Event] = []
    with tenantjobs.subscribe(some.append, Enqueued, Performed):
        works.perform_later(1)
        testing.drain()
    works.perform_later(2)

    assert [type(event) for event in some] == [Enqueued, Performed]


def test_a_listener_that_has_unsubscribed_hears_no_more() -> None:
    some: list[Event] = []
    subscription = tenantjobs.subscribe(some.append)
    subscription.unsubscribe()
    subscription.unsubscribe()
    works.perform_later(1)

    assert some == []


@pytest.mark.parity("1a.38")
def test_a_listener_that_fails_hurts_no_job(caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseException] = []

    def broken(event: Event) -> None:
        raise RuntimeError("listener")

    def reporter(error: BaseException, *, handled: bool, context: Any) -> None:
        told.append(error)

    with testing.override(error_reporters=[reporter]), tenantjobs.subscribe(broken):
        handle = works.perform_later(1)
        assert testing.drain() == 1

    assert handle.enqueued is True
    assert [repr(error) for error in told] == ["RuntimeError('listener')"] * 4
    assert "failed for Performed" in caplog.text


async def wait_for(event: Event) -> None: ...


class Waits:
    async def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize("listener", [wait_for, Waits(), None, 7])
@pytest.mark.parity("1a.38")
def test_what_could_not_be_called_as_a_listener_is_refused(listener: Any) -> None:
    with pytest.raises(ConfigurationError, match="plain function of one event"):
        tenantjobs.subscribe(listener)


@pytest.mark.parametrize("kind", ["Performed", str])
@pytest.mark.parity("1a.38")
def test_what_is_no_type_of_event_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="Enqueuing, Enqueued"):
        tenantjobs.subscribe(heard.append, kind)


def test_no_event_holds_arguments() -> None:
    works.perform_later(4_711_000)
    testing.drain()

    assert "4711000" not in repr(heard)


# What travels with a job.


def stamp(event: Enqueuing) -> None:
    event.headers["trace"] = f"of {event.job.id}"


@pytest.mark.parity("1a.38")
def test_what_is_put_into_the_headers_arrives_with_each_attempt() -> None:
    with tenantjobs.subscribe(stamp, Enqueuing):
        data = enqueued(flaky.perform_later)
    execute(again(data).encode())

    assert [event.headers for event in those(Started)] == [{"trace": f"of {Envelope.decode(data).id}"}] * 2


def test_a_job_in_between_that_knows_nothing_of_headers_hands_them_on() -> None:
    with tenantjobs.subscribe(stamp, Enqueuing):
        handle = Many.perform_later()
    testing.drain()

    inner = [event for event in those(Started) if event.job.name == "told.works"]
    assert [event.headers for event in inner] == [{"trace": f"of {handle.job_id}"}]


def test_headers_are_signed_with_the_context() -> None:
    with testing.override(signing={"keys": ["2026-11:a new secret, in use"]}), tenantjobs.subscribe(stamp, Enqueuing):
        data = enqueued(works.perform_later, 1)
        execute(data)
        assert kinds()[-1] == "Performed"
        execute(data.replace(b'"of ', b'"no '))

    assert kinds()[-1] == "Quarantined"


@pytest.mark.parity("1a.38")
def test_headers_of_another_shape_are_as_none() -> None:
    with tenantjobs.subscribe(stamp, Enqueuing):
        data = enqueued(works.perform_later, 1)
    context = Envelope.decode(data).context
    forged = Envelope.decode(data.replace(bytes(context), b'{"tenant_id":"a","attributes":{"tenantjobs.headers":[7]}}'))
    execute(forged.encode())

    assert [event.headers for event in those(Started)] == [{}]


def test_what_nobody_hears_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Event] = []
    monkeypatch.setattr(instrumentation, "listeners", ())
    monkeypatch.setattr(instrumentation, "emit", made.append)
    for target in (works, flaky, given_up):
        target.perform_later()
    aborted.perform_later(1)
    testing.drain()
    execute(b"no envelope")

    assert made == []

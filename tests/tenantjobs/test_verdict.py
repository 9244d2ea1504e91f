"""What is decided about an error, for functions, classes and methods, sync and async."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tenantjobs import (
    Current,
    Interruption,
    Job,
    after_discard,
    current_job,
    discard_on,
    identity,
    job,
    later,
    rescue_from,
    retry_on,
    testing,
)
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, RecordGone, RecordUnavailable
from tenantjobs.execution import execute
from tenantjobs.outcome import Discarded, Failed, Finished, Retried
from tenantjobs.policies import Policy
from tests.tenantjobs.enqueued import enqueued
from tests.tenantjobs.test_identity import Order, Shelf

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []
models: list[type] = []
reported: list[tuple[str, bool, dict[str, Any]]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()
    reported.clear()


def reporter(error: BaseException, *, handled: bool, context: Any) -> None:
    reported.append((repr(error), handled, dict(context)))


def raising(name: str) -> None:
    seen.append("run")
    raise {"value": ValueError, "key": KeyError, "os": OSError}[name](name)


def a_function(*policies: Policy) -> Any:
    @job(policies=policies)
    def fails(name: str) -> None:
        raising(name)

    return fails.perform_later


def an_async_function(*policies: Policy) -> Any:
    @job(policies=policies)
    async def afails(name: str) -> None:
        raising(name)

    return afails.perform_later


def a_class(*given: Policy) -> Any:
    class Fails(Job):
        policies = given

        def perform(self, name: str) -> None:
            raising(name)

    return Fails.perform_later


def a_class_method(*policies: Policy) -> Any:
    class Model:
        @later(policies=policies)
        @classmethod
        def fail(cls, name: str) -> None:
            raising(name)

    models.append(Model)  # a class that nobody holds takes its jobs along
    return Model.fail_later  # type: ignore[attr-defined]  # planted


KINDS = pytest.mark.parametrize("declare", [a_function, an_async_function, a_class, a_class_method])


@KINDS
@pytest.mark.parity("1a.01", "1a.02")
def test_a_declared_error_is_retried_until_its_attempts_are_used_up(declare: Callable[..., Any]) -> None:
    enqueue = declare(retry_on(ValueError, attempts=3, wait=0))
    outcome = execute(enqueued(enqueue, "value"))
    assert isinstance(outcome, Retried)
    outcome = execute(outcome.again().encode())
    assert isinstance(outcome, Retried)

    assert isinstance(execute(outcome.again().encode()), Failed)
    assert seen == ["run"] * 3


@KINDS
@pytest.mark.parity("1a.09", "1a.10", "1a.11")
def test_every_handler_and_hook_has_the_tenant_and_the_job(declare: Callable[..., Any]) -> None:
    def handler(job: Any, error: BaseException) -> None:
        running = current_job()
        assert running is not None
        seen.append((type(error).__name__, Current.tenant_id, running.tenant_id, running.attempt))

    enqueue = declare(
        discard_on(ValueError, then=handler),
        retry_on(KeyError, attempts=1, then=handler),
        rescue_from(OSError, then=handler),
        after_discard(handler),
    )
    for name, outcome in (("value", Discarded), ("key", Discarded), ("os", Finished)):
        assert isinstance(execute(enqueued(enqueue, name)), outcome)

    called = [each for each in seen if each != "run"]
    known = ("acme", "acme", 1)
    assert called == [("ValueError", *known)] * 2 + [("KeyError", *known)] * 2 + [("OSError", *known)]


@pytest.mark.parity("1a.06")
def test_waits_and_predicates_are_asked_in_the_scope_of_the_job() -> None:
    def mine(error: BaseException) -> bool:
        seen.append(("predicate", Current.tenant_id))
        return True

    def wait(executions: int) -> float:
        seen.append(("wait", Current.tenant_id))
        return 0

    execute(enqueued(a_function(retry_on(mine, wait=wait)), "value"))

    assert seen == ["run", ("predicate", "acme"), ("wait", "acme")]


@pytest.mark.parity("1a.03")
def test_a_subclass_that_declares_the_same_errors_again_goes_on_with_their_counter() -> None:
    class Base(Job):
        name = "counted"
        policies = (retry_on(ValueError, KeyError, attempts=5, wait=0),)

        def perform(self, name: str) -> None:
            raising(name)

    first = execute(enqueued(Base.perform_later, "value"))
    assert isinstance(first, Retried)

    class Sub(Base):
        name = "recounted"
        aliases = ("moved",)
        policies = (retry_on(KeyError, ValueError, attempts=2, wait=0),)

        def perform(self, name: str) -> None:
            raising(name)

    data = first.again().encode().replace(b'"counted"', b'"moved"')

    assert isinstance(execute(data), Failed)


@pytest.mark.parity("1a.03")
def test_classes_of_one_declaration_share_their_attempts() -> None:
    first = execute(enqueued(a_function(retry_on(ValueError, KeyError, attempts=2, wait=0)), "value"))
    assert isinstance(first, Retried)

    outcome = execute(first.again().encode().replace(b'"value"', b'"key"'))

    assert isinstance(outcome, Failed)


def test_a_retry_of_a_retry_keeps_what_was_true_at_the_call() -> None:
    enqueue = a_function(retry_on(ValueError, attempts="unlimited", wait=0))
    data = enqueued(enqueue, "value")
    original = Envelope.decode(data)
    for _ in range(3):
        outcome = execute(data)
        assert isinstance(outcome, Retried)
        data = outcome.again().encode()

    again = Envelope.decode(data)

    assert (again.id, again.tenant_id, again.enqueued_at) == (original.id, "acme", original.enqueued_at)
    assert again.attempt == 3


@pytest.mark.parity("1a.01")
def test_a_retry_goes_to_the_queue_and_the_priority_that_are_declared_for_it() -> None:
    outcome = execute(enqueued(a_function(retry_on(ValueError, queue="slow", priority=20)), "value"))

    assert isinstance(outcome, Retried)
    assert (outcome.envelope.queue, outcome.envelope.priority) == ("slow", 20)


@KINDS
@pytest.mark.parity("1a.08")
def test_an_error_is_reported_where_that_is_declared(declare: Callable[..., Any]) -> None:
    enqueue = declare(
        retry_on(ValueError, attempts=2, wait=0, report=True, then=lambda error: None),
        discard_on(KeyError, report=True),
        discard_on(OSError),
    )
    with testing.override(error_reporters=[reporter]):
        first = execute(enqueued(enqueue, "value"))
        assert isinstance(first, Retried)
        execute(first.again().encode())
        execute(enqueued(enqueue, "key"))
        execute(enqueued(enqueue, "os"))

    assert [(error, handled) for error, handled, _ in reported] == [
        ("ValueError('value')", True),
        ("KeyError('key')", True),
    ]
    assert reported[0][2]["tenant_id"] == "acme"


@pytest.mark.parity("1a.08")
def test_a_failure_is_reported_as_not_handled_with_its_job() -> None:
    with testing.override(error_reporters=[reporter]):
        data = enqueued(a_function(), "value")
        execute(data)

    (told,) = reported
    assert told[:2] == ("ValueError('value')", False)
    assert told[2]["job_id"] == Envelope.decode(data).id
    assert told[2]["attempt"] == 1


@pytest.mark.parity("1a.08")
def test_what_may_not_be_run_is_reported() -> None:
    with testing.override(error_reporters=[reporter]):
        execute(b"{}")

    assert [handled for _, handled, _ in reported] == [False]


@pytest.mark.parity("1a.11")
def test_all_hooks_after_a_discard_run_and_the_last_error_of_them_fails_the_job() -> None:
    def first(job: Any, error: BaseException) -> None:
        seen.append("first")
        raise RuntimeError("first")

    def second(job: Any, error: BaseException) -> None:
        seen.append("second")
        raise RuntimeError("second")

    enqueue = a_function(discard_on(ValueError), after_discard(first), after_discard(second))
    outcome = execute(enqueued(enqueue, "value"))

    assert seen == ["run", "first", "second"]
    assert isinstance(outcome, Failed)
    assert str(outcome.error) == "second"
    assert isinstance(outcome.error.__cause__, ValueError)


@pytest.mark.parity("1a.11")
def test_hooks_after_a_discard_are_inherited_and_added_to() -> None:
    class Base(Job):
        @after_discard
        def tell(self, error: BaseException) -> None:
            seen.append("base")

    class Sub(Base):
        @after_discard
        def tell_more(self, error: BaseException) -> None:
            seen.append("sub")

        def perform(self) -> None:
            raise ValueError

    execute(enqueued(Sub.perform_later))

    assert seen == ["base", "sub"]


@pytest.mark.parity("1a.10")
def test_a_discard_whose_handler_fails_runs_no_hook_and_fails() -> None:
    def broken(error: BaseException) -> None:
        raise RuntimeError("handler")

    enqueue = a_function(discard_on(ValueError, then=broken), after_discard(lambda job, error: seen.append("hook")))

    assert isinstance(execute(enqueued(enqueue, "value")), Failed)
    assert seen == ["run"]


@pytest.mark.parity("1a.12")
def test_the_cause_of_an_error_is_answered_for_and_its_mere_context_is_not() -> None:
    @job(policies=[discard_on(KeyError)])
    def chained(explicit: bool) -> None:
        try:
            raise KeyError
        except KeyError as error:
            if explicit:
                raise RuntimeError from error
            raise RuntimeError  # noqa: B904  # the case

    assert isinstance(execute(enqueued(chained.perform_later, True)), Discarded)
    assert isinstance(execute(enqueued(chained.perform_later, False)), Failed)


@pytest.mark.parametrize(("answers", "outcome"), [(True, Discarded), (False, Retried)])
@pytest.mark.parity("1a.26")
def test_arguments_that_cannot_be_loaded_are_in_reach_of_handlers(answers: bool, outcome: type[Any]) -> None:
    @job(policies=[retry_on(RecordUnavailable, wait=0), discard_on(RecordGone, then=lambda e: seen.append("told"))])
    def note(record: Any) -> None:
        seen.append("ran")

    shelf = Shelf()
    shelf.answers = answers
    identity.register(shelf)
    try:
        data = enqueued(note.perform_later, Order(7))
        assert isinstance(execute(data), outcome)
    finally:
        identity.unregister(shelf)

    assert "ran" not in seen


# rescue_from


@pytest.mark.parity("1a.12")
def test_a_handler_of_a_class_is_a_method_that_a_subclass_overrides() -> None:
    class Rescued(Job):
        @rescue_from(ValueError, KeyError)
        def answer(self, error: Exception) -> str:
            return f"base: {error}"

        def perform(self, name: str) -> None:
            self.touched = True
            raising(name)

    class Sub(Rescued):
        def answer(self, error: Exception) -> str:
            assert self.touched
            return f"sub: {error}"

        def perform(self, name: str) -> None:
            super().perform(name)

    (base, sub) = (execute(enqueued(each.perform_later, "value")) for each in (Rescued, Sub))

    assert isinstance(base, Finished)
    assert isinstance(sub, Finished)
    assert (base.value, sub.value) == ("base: value", "sub: value")
    assert Rescued().answer(ValueError("x")) == "base: x"


def test_a_rescue_that_raises_fails_the_job_and_consults_nobody_else() -> None:
    def reraise(error: Exception) -> None:
        raise error

    enqueue = a_function(
        rescue_from(ValueError, then=reraise),
        discard_on(Exception),
        after_discard(lambda job, error: seen.append("hook")),
    )

    assert isinstance(execute(enqueued(enqueue, "value")), Failed)
    assert seen == ["run"]


@pytest.mark.parity("1a.12")
def test_a_rescue_with_a_handler_may_stand_over_a_function() -> None:
    @job
    @rescue_from(ValueError, then=lambda error: f"rescued: {error}")
    def fails(name: str) -> None:
        raising(name)

    outcome = execute(enqueued(fails.perform_later, "value"))

    assert isinstance(outcome, Finished)
    assert outcome.value == "rescued: value"


@pytest.mark.parametrize("wrong", [lambda: 5, lambda: type("X", (), {})])
@pytest.mark.parity("1a.12")
def test_a_rescue_without_a_handler_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError, match="has no handler: write rescue_from"):
        rescue_from(ValueError)(wrong())
    with pytest.raises(ConfigurationError, match="then="):
        job(policies=[rescue_from(ValueError)])(lambda: None)


# asking for another attempt


@KINDS
@pytest.mark.parity("1a.15")
def test_a_handler_may_ask_for_another_attempt(declare: Callable[..., Any]) -> None:
    def again(error: BaseException) -> None:
        running = current_job()
        assert running is not None
        running.retry(wait=timedelta(minutes=5), queue="slow", priority=3)

    outcome = execute(enqueued(declare(rescue_from(ValueError, then=again)), "value"))

    assert isinstance(outcome, Retried)
    assert (outcome.envelope.queue, outcome.envelope.priority, outcome.envelope.attempt) == ("slow", 3, 1)
    assert outcome.due_at > outcome.envelope.enqueued_at + timedelta(minutes=4)
    assert isinstance(outcome.error, ValueError)


@pytest.mark.parity("1a.15")
def test_a_job_asks_for_another_attempt_and_ends_there() -> None:
    @job(policies=[retry_on(Exception, attempts=1)])
    def polling() -> None:
        running = current_job()
        assert running is not None
        seen.append(running.attempt)
        if running.attempt < 3:
            try:
                running.retry()
            except Exception:
                seen.append("swallowed")
            seen.append("went on")

    polling.perform_later()
    testing.drain()

    assert seen == [1, 2, 3]


async def test_an_async_job_asks_for_another_attempt() -> None:
    @job
    async def polling() -> None:
        running = current_job()
        assert running is not None
        running.retry(wait=60)

    outcome = execute(enqueued(polling.perform_later))

    assert isinstance(outcome, Retried)
    assert (outcome.envelope.attempt, outcome.envelope.counters, outcome.error) == (1, {}, None)


@pytest.mark.parametrize("given", [{"queue": ""}, {"priority": 2**40}, {"wait": "soon"}])
@pytest.mark.parity("1a.15")
def test_an_impossible_next_attempt_is_refused_where_it_is_asked_for(given: dict[str, Any]) -> None:
    @job
    def asks() -> None:
        running = current_job()
        assert running is not None
        running.retry(**given)

    outcome = execute(enqueued(asks.perform_later))

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ConfigurationError)


@pytest.mark.parity("1a.15")
def test_another_attempt_cannot_be_asked_for_where_there_is_none() -> None:
    enqueue = a_function(discard_on(ValueError, then=lambda job, error: job.retry()))

    with pytest.raises(ConfigurationError, match="where it is not performed"):
        enqueue.__self__.perform_now("value")

    kept: list[Any] = []

    @job
    def keeps() -> None:
        kept.append(current_job())

    execute(enqueued(keeps.perform_later))
    with pytest.raises(ConfigurationError, match="where it is not performed"):
        kept[0].retry()


def test_an_interruption_charges_no_attempt() -> None:
    interrupted = [True]

    @job
    def interruptible() -> None:
        running = current_job()
        assert running is not None
        seen.append(running.attempt)
        if interrupted.pop() if interrupted else False:
            raise Interruption

    interruptible.perform_later()
    with pytest.raises(Interruption):
        testing.drain()
    testing.drain()

    assert seen == [1, 1]

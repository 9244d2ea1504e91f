"""What runs around a job where it is enqueued, and where it is performed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tenantjobs import (
    Abort,
    Current,
    Job,
    after_enqueue,
    after_perform,
    around_enqueue,
    around_perform,
    before_enqueue,
    before_perform,
    guard,
    job,
    later,
    perform_all_later,
    retry_on,
    testing,
)
from tenantjobs.errors import ConfigurationError
from tenantjobs.execution import execute
from tenantjobs.outcome import Failed, Finished
from tenantjobs.policies import Policy
from tenantjobs.testing import enqueued_jobs
from tests.tenantjobs.enqueued import enqueued

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()


def say(text: str) -> Callable[..., None]:
    return lambda *args: seen.append(text)


def around(name: str) -> Callable[..., Iterator[None]]:
    def block(*args: Any) -> Iterator[None]:
        seen.append(f"{name} in")
        yield
        seen.append(f"{name} out")

    return block


def never(*args: Any) -> Iterator[None]:
    seen.append("never")
    return
    yield


def stop(*args: Any) -> None:
    raise Abort("not today")


def stopping(*args: Any) -> Iterator[None]:
    raise Abort("not today")
    yield


def note_with(*policies: Policy) -> Any:
    @job(policies=policies)
    def note(number: int = 0) -> int:
        seen.append("run")
        return number

    return note


# performing


@pytest.mark.parity("1a.16")
def test_hooks_nest_in_the_order_of_their_declaration() -> None:
    note = note_with(
        after_perform(say("after outer")),
        before_perform(say("before outer")),
        around_perform(around("one")),
        after_perform(say("after inner")),
        before_perform(say("before inner")),
        around_perform(around("two")),
    )
    execute(enqueued(note.perform_later))

    assert seen == [
        *("before outer", "one in", "before inner", "two in"),
        "run",
        *("two out", "after inner", "one out", "after outer"),
    ]


@pytest.mark.parity("1a.16")
def test_hooks_of_a_base_class_are_around_those_of_its_subclass_and_decorators_are_read_from_above() -> None:
    @before_perform(say("first"))
    @before_perform(say("second"))
    class Base(Job): ...

    class Sub(Base):
        @before_perform
        def third(self) -> None:
            seen.append("third")

        def perform(self) -> None:
            seen.append("run")

    execute(enqueued(Sub.perform_later))

    assert seen == ["first", "second", "third", "run"]


def test_a_method_may_be_another_kind_of_hook_in_a_subclass() -> None:
    class Base(Job):
        @before_perform
        def tell(self) -> None:
            seen.append("base")

    class Sub(Base):
        @after_perform
        def tell(self) -> None:
            seen.append("sub")

        def perform(self) -> None:
            seen.append("run")

    execute(enqueued(Sub.perform_later))

    assert seen == ["sub", "run", "sub"]


def test_a_guard_may_abort() -> None:
    assert execute(enqueued(note_with(guard(stop)).perform_later)) == Finished(note="aborted: not today")


@pytest.mark.parametrize("aborting", [before_perform(stop), around_perform(stopping)])
@pytest.mark.parity("1a.16")
def test_an_abort_skips_the_job_and_the_hooks_after_it_and_is_no_failure(aborting: Policy) -> None:
    note = note_with(after_perform(say("after")), around_perform(around("one")), aborting, before_perform(say("inner")))

    assert execute(enqueued(note.perform_later)) == Finished(note="aborted: not today")
    assert seen == ["one in", "one out"]
    assert note.perform_now() is None


@pytest.mark.parity("1a.16")
def test_a_hook_around_a_job_that_never_yields_skips_it_and_what_is_declared_inside() -> None:
    note = note_with(after_perform(say("outer")), around_perform(never), after_perform(say("inner")))

    assert execute(enqueued(note.perform_later)) == Finished(note="a hook around it did not yield")
    assert seen == ["never", "outer"]


async def test_an_async_hook_around_an_async_job_that_never_yields_skips_it() -> None:
    async def anever() -> AsyncIterator[None]:
        return
        yield

    @job(policies=[around_perform(anever)])
    async def note() -> None:
        seen.append("run")

    assert await note.perform_now() is None
    assert seen == []


def test_a_generator_that_breaks_is_not_taken_for_one_that_never_yields() -> None:
    def broken() -> Iterator[None]:
        next(iter([]))
        yield

    outcome = execute(enqueued(note_with(around_perform(broken)).perform_later))

    assert isinstance(outcome, Failed)


@pytest.mark.parity("1a.16")
def test_what_a_hook_returns_does_not_halt() -> None:
    execute(enqueued(note_with(before_perform(lambda number=0: False)).perform_later))

    assert seen == ["run"]


def test_an_abort_of_the_job_itself_is_an_error_like_any_other() -> None:
    @job
    def note() -> None:
        raise Abort("too late")

    assert isinstance(execute(enqueued(note.perform_later)), Failed)


@pytest.mark.parametrize("hook", [before_perform, after_perform, before_enqueue, after_enqueue])
@pytest.mark.parity("1a.16")
def test_a_hook_runs_where_its_conditions_hold(hook: Any) -> None:
    note = note_with(
        hook(say("if"), if_=lambda number: number > 1), hook(say("unless"), unless=lambda number: number > 2)
    )
    for number in (1, 2, 3):
        seen.append(number)
        note.perform_later(number)
        testing.drain()

    said = [each for each in seen if each != "run"]
    expected = [1, "unless", 2, "if", "unless", 3, "if"]
    assert sorted(map(str, said)) == sorted(map(str, expected))
    assert (said.index(2) < said.index("if"), said[-1]) == (True, "if")


async def test_an_async_job_has_async_conditions() -> None:
    async def no() -> bool:
        return False

    @job(policies=[before_perform(say("never"), if_=no)])
    async def note() -> None:
        seen.append("run")

    await note.perform_now()

    assert seen == ["run"]


def test_a_condition_stands_over_the_method_that_it_is_about() -> None:
    class Hooked(Job):
        @before_perform(if_=lambda job, number: number > 1)
        def prepare(self, number: int) -> None:
            seen.append("prepared")

        def perform(self, number: int) -> None:
            seen.append(number)

    for number in (1, 2):
        execute(enqueued(Hooked.perform_later, number))

    assert seen == [1, "prepared", 2]


def test_a_guard_has_conditions_too() -> None:
    note = note_with(guard(lambda number: False, if_=lambda number: number > 1))
    outcomes = [execute(enqueued(note.perform_later, number)) for number in (1, 2)]

    assert outcomes == [Finished(1), Finished(note="its guard said no")]


@pytest.mark.parametrize(
    "declare",
    [
        lambda: before_perform(5),  # type: ignore[arg-type]
        lambda: before_perform(stop, if_="ready"),  # type: ignore[arg-type]
        lambda: note_with(before_perform()),
        lambda: before_perform(if_=bool)(Job),
        lambda: before_enqueue(an_async_function),
        lambda: before_enqueue(stop, if_=an_async_function),
        lambda: around_enqueue(an_async_generator),
    ],
)
def test_a_hook_that_could_not_run_is_refused_when_it_is_declared(declare: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError):
        declare()


async def an_async_function() -> None: ...


async def an_async_generator() -> AsyncIterator[None]:
    yield


# enqueuing


@pytest.mark.parity("1a.16", "1a.17")
def test_hooks_run_around_the_handing_over_and_again_not_for_a_retry() -> None:
    policies = (
        before_enqueue(lambda number: seen.append(("before", number, len(enqueued_jobs())))),
        around_enqueue(around("around")),
        after_enqueue(lambda number: seen.append(("after", number, len(enqueued_jobs())))),
        retry_on(ValueError, attempts=2, wait=0),
    )

    @job(policies=policies)
    def note(number: int) -> None:
        raise ValueError

    note.perform_later(7)
    around_it = list(seen)
    testing.drain()

    assert around_it == [("before", 7, 0), "around in", ("after", 7, 1), "around out"]
    assert seen == around_it


@pytest.mark.parametrize("aborting", [before_enqueue(stop), around_enqueue(stopping), around_enqueue(never)])
@pytest.mark.parity("1a.16", "1a.17")
def test_an_abort_keeps_the_job_from_the_queue_and_the_handle_says_so(aborting: Policy) -> None:
    handle = note_with(aborting, after_enqueue(say("after"))).perform_later()

    assert enqueued_jobs() == []
    assert handle.enqueued is False
    assert isinstance(handle.enqueue_error, Abort)
    assert "after" not in seen


async def test_hooks_run_around_an_awaited_call_too() -> None:
    note = note_with(before_enqueue(say("before")), around_enqueue(around("around")), after_enqueue(say("after")))
    handle = await note.aperform_later()
    aborted = await note_with(before_enqueue(stop)).aperform_later()

    assert seen == ["before", "around in", "after", "around out"]
    assert (handle.enqueued, aborted.enqueued) == (True, False)


@pytest.mark.parity("1a.16")
def test_hooks_of_a_class_share_the_object_and_see_what_it_chose() -> None:
    class Hooked(Job):
        @before_enqueue
        def prepare(self, number: int) -> None:
            seen.append(number)

        def perform(self, number: int) -> None: ...

    Hooked.perform_later(7)

    assert seen == [7]


def test_hooks_of_a_method_take_its_receiver_first() -> None:
    class Sweeper:
        @later(policies=[before_enqueue(lambda cls, number: seen.append((cls, number)))])
        @classmethod
        def sweep(cls, number: int) -> None: ...

    Sweeper.sweep_later(7)  # type: ignore[attr-defined]  # planted

    assert seen == [(Sweeper, 7)]


@pytest.mark.parity("1a.21")
def test_many_jobs_are_enqueued_without_hooks() -> None:
    note = note_with(before_enqueue(stop), after_enqueue(say("after")))
    (handle,) = perform_all_later([note.call()])

    assert handle.enqueued is True
    assert seen == []


def test_an_error_before_the_queue_has_it_is_raised_and_one_after_is_reported() -> None:
    told: list[BaseException] = []

    def broken(*args: Any) -> None:
        raise RuntimeError("hook")

    with pytest.raises(RuntimeError, match="hook"):
        note_with(before_enqueue(broken)).perform_later()
    assert enqueued_jobs() == []

    with testing.override(error_reporters=[lambda error, **_: told.append(error)]):
        handle = note_with(after_enqueue(broken)).perform_later()

    assert handle.enqueued is True
    assert [str(error) for error in told] == ["hook"]


def test_hooks_have_the_scope_of_the_call() -> None:
    note = note_with(after_enqueue(lambda: seen.append(Current.tenant_id)))
    note.perform_later()

    assert seen == ["acme"]

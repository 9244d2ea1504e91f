"""Steps of a job: what is done is not repeated, and what was interrupted goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenantjobs import AsyncCursor, Cursor, Interruption, Job, current_job, job, retry_on, step, testing
from tenantjobs.envelope import Envelope
from tenantjobs.errors import LeaseLost, SerializationError, StepError
from tenantjobs.execution import execute
from tenantjobs.testing import enqueued_jobs, failed_jobs, perform_enqueued_jobs, performed_jobs
from tests.tenantjobs.enqueued import enqueued

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()


def failure() -> str:
    """Why the last job has failed."""
    error = failed_jobs()[-1].error
    assert isinstance(error, StepError), error
    return str(error)


def outcomes() -> list[str]:
    return [performed.outcome for performed in performed_jobs()]


class fails:
    """Raises so many times."""

    def __init__(self, times: int, error: BaseException) -> None:
        self.left, self.error = times, error

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error


@pytest.mark.parity("1a.29", "1a.33")
def test_a_step_that_is_completed_is_not_repeated_when_a_later_one_is_retried() -> None:
    flaky = fails(2, ConnectionError())

    @retry_on(ConnectionError, wait=0, attempts=5)
    class Import(Job):
        def perform(self, name: str) -> None:
            seen.append("perform")
            self.run_steps(name)

        @step
        def download(self, name: str) -> None:
            seen.append(f"download {name}")

        @step
        def store(self, name: str) -> None:
            flaky()
            seen.append(f"store {name}")

    Import.perform_later("a")
    testing.drain()

    assert seen == ["perform", "download a", "perform", "perform", "store a"]
    assert outcomes() == ["retried", "retried", "finished"]


@pytest.mark.parity("1a.29")
def test_steps_are_written_by_hand_in_a_function_too() -> None:
    flaky = fails(1, ConnectionError())

    @job(policies=[retry_on(ConnectionError, wait=0)])
    def transfer() -> None:
        for _ in step("out"):
            seen.append("out")
        seen.append("between")
        for _ in step("in"):
            flaky()
            seen.append("in")

    transfer.perform_later()
    testing.drain()

    assert seen == ["out", "between", "between", "in"]


@pytest.mark.parity("1a.30")
def test_a_cursor_goes_on_where_it_was_set_in_the_attempt_before() -> None:
    @job(policies=[retry_on(ConnectionError, wait=0)])
    def count() -> None:
        for cursor in step("count", start=0):
            seen.append(("from", cursor.value))
            for number in range(cursor.value, 6):
                if number == 3 and current_attempt() == 1:
                    raise ConnectionError
                seen.append(number)
                cursor.advance()

    count.perform_later()
    testing.drain()

    assert seen == [("from", 0), 0, 1, 2, ("from", 3), 3, 4, 5]


def current_attempt() -> int:
    running = current_job()
    assert running is not None
    return running.attempt


@pytest.mark.parity("1a.30")
@pytest.mark.parametrize("value", [0, "", None, False, (1, "a"), {"at": [1.5]}, b"\x00", {3}])
def test_a_cursor_that_was_set_to_a_value_keeps_it_even_one_that_is_false(value: Any) -> None:
    class Import(Job):
        def perform(self) -> None:
            self.run_steps()

        @step(start="start")
        def load(self, *, cursor: Cursor[Any]) -> None:
            seen.append(cursor.value)
            if cursor.value == "start":
                cursor.set(value)

    Import.perform_later()
    with testing.stopping():
        perform_enqueued_jobs()
    perform_enqueued_jobs()

    assert seen == ["start", value]
    assert type(seen[1]) is type(value)


@pytest.mark.parity("1a.30")
def test_a_cursor_advances_past_a_number_and_nothing_else() -> None:
    @job
    def count() -> None:
        for cursor in step("count", start=0):
            cursor.advance(past=41)
            seen.append(cursor.value)
        for text in step("text", start="a"):
            text.advance()

    count.perform_later()
    testing.drain()

    assert seen == [42]
    assert "only a whole number has a next one" in failure()


class Thing:
    pass


@pytest.mark.parity("1a.30")
def test_a_cursor_is_a_plain_value() -> None:
    @job
    def count() -> None:
        for cursor in step("count"):
            cursor.set(Thing())

    count.perform_later()
    testing.drain()

    assert "cursor of step 'count' is of type" in str(failed_jobs()[0].error)


@pytest.mark.parity("1a.31")
def test_a_job_is_interrupted_at_a_checkpoint_when_its_worker_stops_and_no_attempt_is_charged() -> None:
    @job
    def count() -> None:
        for cursor in step("count", start=0):
            for number in range(cursor.value, 3):
                seen.append((current_attempt(), number))
                cursor.advance()
        seen.append("end")

    count.perform_later()
    with testing.stopping():
        perform_enqueued_jobs()

    assert seen == [(1, 0)]
    assert len(enqueued_jobs()) == 1

    perform_enqueued_jobs()

    assert seen == [(1, 0), (1, 1), (1, 2), "end"]
    assert outcomes() == ["retried", "finished"]


@pytest.mark.parity("1a.31")
def test_a_checkpoint_comes_before_each_step_but_neither_before_the_first_nor_after_the_last() -> None:
    @job
    def chain() -> None:
        for name in "abc":
            for _ in step(name):
                seen.append(name)

    chain.perform_later()
    with testing.stopping():
        assert [perform_enqueued_jobs() for _ in range(3)] == [1, 1, 1]

    assert seen == ["a", "b", "c"]
    assert outcomes() == ["retried", "retried", "finished"]


@pytest.mark.parity("1a.31", "1a.37")
def test_a_checkpoint_without_news_interrupts_too() -> None:
    @job
    def wait() -> None:
        for cursor in step("wait", start=7):
            seen.append(cursor.value)
            cursor.checkpoint()
            seen.append("on")

    wait.perform_later()
    with testing.stopping():
        perform_enqueued_jobs()
    perform_enqueued_jobs()

    assert seen == [7, 7, "on"]


@pytest.mark.parity("1a.31")
def test_a_broad_except_of_the_job_does_not_eat_the_interruption() -> None:
    @job
    def count() -> None:
        for cursor in step("count", start=0):
            try:
                cursor.advance()
            except Exception:
                seen.append("eaten")
            seen.append("on")

    count.perform_later()
    with testing.stopping():
        perform_enqueued_jobs()

    assert (seen, len(enqueued_jobs())) == ([], 1)


@pytest.mark.parity("1a.32")
def test_an_isolated_step_has_an_execution_of_its_own() -> None:
    class Process(Job):
        def perform(self) -> None:
            seen.append("|")
            self.run_steps()

        @step
        def before(self) -> None:
            seen.append("before")

        @step(isolated=True)
        def alone(self) -> None:
            seen.append("alone")

        @step
        def after(self) -> None:
            seen.append("after")

        @step
        def last(self) -> None:
            seen.append(current_attempt())

    Process.perform_later()
    testing.drain()

    assert seen == ["|", "before", "|", "alone", "|", "after", 1]
    assert outcomes() == ["retried", "retried", "finished"]


@pytest.mark.parity("1a.32")
def test_an_isolated_step_that_is_the_first_does_not_wait_for_another_execution() -> None:
    @job
    def alone() -> None:
        for _ in step("alone", isolated=True):
            seen.append("alone")

    alone.perform_later()
    testing.drain()

    assert outcomes() == ["finished"]


@pytest.mark.parity("1a.33")
def test_an_interruption_of_the_job_itself_keeps_its_steps() -> None:
    interrupted = fails(1, Interruption("as asked for"))

    @job
    def chain() -> None:
        for _ in step("a"):
            seen.append("a")
        for _ in step("b"):
            interrupted()
            seen.append("b")

    chain.perform_later()
    testing.drain()

    assert seen == ["a", "b"]
    assert outcomes() == ["retried", "finished"]


@pytest.mark.parity("1a.33")
def test_a_job_that_is_resumed_too_often_fails() -> None:
    @job(max_resumptions=2)
    def count() -> None:
        running = current_job()
        assert running is not None
        seen.append(running.resumptions)
        for cursor in step("count", start=0):
            while True:
                cursor.advance()

    count.perform_later()
    with testing.stopping():
        testing.drain()

    assert seen == [0, 1, 2]
    assert "resumed 2 times" in failure()


@pytest.mark.parity("1a.33")
def test_what_a_job_declares_about_an_error_holds_after_progress_too() -> None:
    @job
    def chain() -> None:
        for _ in step("a"):
            seen.append("a")
        raise LookupError("nobody retries it")

    chain.perform_later()
    testing.drain()

    assert outcomes() == ["failed"]


@pytest.mark.parity("1a.29")
def test_conditions_leave_a_step_out_and_are_asked_once() -> None:
    flaky = fails(1, ConnectionError())

    @retry_on(ConnectionError, wait=0)
    class Process(Job):
        def perform(self, size: int) -> None:
            self.run_steps(size)

        @step(if_="is_large")
        def split(self, size: int) -> None:
            seen.append("split")

        @step(unless=lambda job, size: size > 100)
        def whole(self, size: int) -> None:
            seen.append("whole")

        @step
        def store(self, size: int) -> None:
            flaky()

        def is_large(self, size: int) -> bool:
            seen.append("asked")
            return size > 100

    Process.perform_later(7)
    testing.drain()

    assert seen == ["asked", "whole"]
    assert outcomes() == ["retried", "finished"]


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parity("1a.29")
def test_an_error_of_a_step_is_handled_and_the_job_goes_on(by_name: bool) -> None:
    class Process(Job):
        def perform(self, name: str, *, size: int) -> None:
            self.run_steps(name, size=size)

        def flag(self, name: str, size: int, error: Exception) -> None:
            seen.append((name, size, repr(error)))

        @step(on_error="flag" if by_name else lambda job, name, raised, size: job.flag(name, size, raised))
        def generate(self, name: str, size: int) -> None:
            raise ValueError("no")

        @step
        def store(self, name: str, size: int) -> None:
            seen.append("store")

    Process.perform_later("a", size=1)
    testing.drain()

    assert seen == [("a", 1, "ValueError('no')"), "store"]
    assert outcomes() == ["finished"]


def test_what_a_handler_of_a_step_raises_is_what_the_job_raises() -> None:
    class Process(Job):
        def perform(self) -> None:
            self.run_steps()

        def flag(self, error: Exception) -> None:
            raise error

        @step(on_error="flag")
        def generate(self) -> None:
            raise ValueError("no")

    Process.perform_later()
    testing.drain()

    assert [type(failed.error) for failed in failed_jobs()] == [ValueError]


def test_steps_are_inherited_in_order_and_what_a_subclass_overrides_runs_in_its_place() -> None:
    class Base(Job):
        def perform(self) -> None:
            self.run_steps()

        @step
        def first(self) -> None:
            seen.append("first")

        @step
        def second(self) -> None:
            seen.append("second")

    class Sub(Base):
        @step
        def third(self) -> None:
            seen.append("third")

        def first(self) -> None:
            seen.append("first of the subclass")

    Sub.perform_later()
    testing.drain()

    assert seen == ["first of the subclass", "second", "third"]


@pytest.mark.parity("1a.29", "1a.30")
def test_an_async_job_awaits_its_steps_and_cursors() -> None:
    class Process(Job):
        async def perform(self, size: int) -> None:
            await self.run_steps(size)
            async for cursor in step("by hand", start=0):
                seen.append(cursor.value)
                if cursor.value == 0:
                    await cursor.advance()

        @step(start=0)
        async def load(self, size: int, *, cursor: AsyncCursor[int]) -> None:
            for number in range(cursor.value, size):
                seen.append(f"load {number}")
                await cursor.set(number + 1)

        @step(if_=lambda job, size: size > 1)
        def quick(self, size: int) -> None:
            seen.append("quick")

    Process.perform_later(2)
    with testing.stopping():
        testing.drain()

    assert seen == ["load 0", "load 1", "quick", 0, 1]
    assert set(outcomes()) == {"retried", "finished"}
    assert outcomes()[-1] == "finished"


@pytest.mark.parity("1a.34")
def test_steps_that_nobody_awaits_fail_the_job_instead_of_being_lost() -> None:
    class Process(Job):
        async def perform(self) -> None:
            self.kept = self.run_steps()

        @step
        def load(self) -> None:
            seen.append("load")

    Process.perform_later()
    testing.drain()

    assert "run_steps was not awaited" in failure()


def test_performed_now_a_job_runs_its_steps_in_one_go() -> None:
    class Process(Job):
        def perform(self) -> int:
            self.run_steps()
            return len(seen)

        @step
        def first(self) -> None:
            seen.append("first")

        @step(isolated=True, start=1)
        def second(self, *, cursor: Cursor[int]) -> None:
            cursor.advance()
            seen.append(cursor.value)

        @step
        def third(self) -> None:
            seen.append("third")

    assert Process.perform_now() == 3
    assert seen == ["first", 2, "third"]


def twice() -> None:
    for _ in step("a"):
        pass
    for _ in step("a"):
        pass


def nested() -> None:
    for _ in step("a"):
        for _ in step("b"):
            pass


def left_by_break() -> None:
    for _ in step("a"):
        break
    for _ in step("b"):
        pass


def outside() -> None:
    (cursor,) = step("a")
    cursor.set(1)


@pytest.mark.parity("1a.34")
@pytest.mark.parametrize(
    ("function", "why"),
    [
        (twice, "comes to step 'a' twice"),
        (nested, "step 'b' begins inside of step 'a'"),
        (left_by_break, "left by `break`"),
        (outside, "used outside of it"),
    ],
)
def test_steps_that_are_used_wrongly_fail_the_job(function: Callable[[], None], why: str) -> None:
    job(name=f"steps.{function.__name__}")(function).perform_later()
    testing.drain()

    assert why in failure()


@pytest.mark.parity("1a.34")
@pytest.mark.parametrize(
    ("deployed", "why"),
    [
        ("ba", "has completed a, and comes to b now"),
        ("xab", "has completed a, and comes to x now"),
        ("axb", "was interrupted in step 'b', and comes to 'x' now"),
    ],
)
def test_a_job_under_way_whose_steps_were_changed_fails(deployed: str, why: str) -> None:
    names = ["ab"]

    @job
    def chain() -> None:
        for name in names[0]:
            for cursor in step(name):
                if name == "b":
                    cursor.set(1)

    chain.perform_later()
    with testing.stopping():
        perform_enqueued_jobs()
        perform_enqueued_jobs()
    names[0] = deployed
    testing.drain()

    assert why in failure()


@pytest.mark.parity("1a.34")
def test_steps_outside_of_a_job_are_refused() -> None:
    class Process(Job):
        def perform(self) -> None: ...

        @step
        def load(self) -> None: ...

    with pytest.raises(StepError, match="being performed"):
        list(step("a"))
    with pytest.raises(StepError, match="being performed"):
        Process().run_steps()


@pytest.mark.parity("1a.34")
def test_a_class_without_steps_has_none_to_run() -> None:
    class Process(Job):
        def perform(self) -> None:
            self.run_steps()

    with pytest.raises(StepError, match="has no steps"):
        Process.perform_now()


@pytest.mark.parity("1a.34")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"on_error": "flg"}, "no such method; did you mean flag"),
        ({"if_": "nothing_alike"}, "no such method"),
        ({"unless": 3}, "the name of a method, or a callable"),
    ],
)
def test_an_option_that_names_no_method_is_refused_where_the_class_is_defined(
    options: dict[str, Any], why: str
) -> None:
    with pytest.raises(StepError, match=why):

        class Process(Job):
            def perform(self) -> None: ...
            def flag(self, error: Exception) -> None: ...

            @step(**options)
            def load(self) -> None: ...


@pytest.mark.parity("1a.34")
def test_other_misuse_is_refused_at_the_call() -> None:
    wrong: Any = step
    with pytest.raises(StepError, match="no if_, unless or on_error"):
        wrong("a", if_=lambda: True)
    with pytest.raises(StepError, match="has a name"):
        step("")
    with pytest.raises(StepError, match="decorates methods"):
        wrong(3)


@pytest.mark.parity("1a.34")
def test_a_for_loop_over_a_step_is_refused_in_an_async_job() -> None:
    @job
    async def load() -> None:
        for _ in step("a"):
            pass

    load.perform_later()
    testing.drain()

    assert "write async for" in failure()


def test_a_def_step_with_a_cursor_is_refused_in_an_async_job() -> None:
    class Process(Job):
        async def perform(self) -> None:
            await self.run_steps()

        @step
        def load(self, *, cursor: Cursor[int]) -> None: ...

    Process.perform_later()
    testing.drain()

    assert "make it `async def`" in failure()


@pytest.mark.parity("1a.31")
def test_steps_of_a_job_whose_work_commits_in_one_piece_are_refused() -> None:
    @job(transactional=True, session=True)
    def pay() -> None:
        for _ in step("a"):
            pass

    with pytest.raises(StepError, match="is to commit in one piece"):
        pay.perform_now()


def test_a_step_that_performs_another_job_now_keeps_apart_from_its_steps() -> None:
    @job
    def inner() -> None:
        for _ in step("a"):
            seen.append("inner")

    @job
    def outer() -> None:
        for _ in step("a"):
            inner.perform_now()

    outer.perform_later()
    testing.drain()

    assert (seen, outcomes()) == (["inner"], ["finished"])


def test_the_inline_adapter_goes_on_from_where_the_job_was() -> None:
    flaky = fails(1, ConnectionError())

    @job(policies=[retry_on(ConnectionError, wait=0)])
    def chain() -> None:
        for cursor in step("a", start=0):
            cursor.advance()
            seen.append(cursor.value)
        for _ in step("b", isolated=True):
            flaky()
            seen.append("b")

    with testing.override(adapter="inline"):
        chain.perform_later()

    assert seen == [1, "b"]


def test_the_value_of_a_condition_may_be_awaited() -> None:
    async def no(job: Job) -> bool:
        return False

    class Process(Job):
        async def perform(self) -> None:
            await self.run_steps()

        @step(if_=no)
        async def load(self) -> None:
            seen.append("load")

    Process.perform_later()
    testing.drain()

    assert (seen, outcomes()) == ([], ["finished"])


@pytest.mark.parity("1a.29")
def test_a_condition_is_not_asked_of_a_step_that_was_interrupted() -> None:
    class Process(Job):
        def perform(self) -> None:
            self.run_steps()

        @step(if_=lambda job: not seen, start=0)
        def load(self, *, cursor: Cursor[int]) -> None:
            while cursor.value < 2:
                seen.append(cursor.value)
                cursor.advance()

    Process.perform_later()
    with testing.stopping():
        perform_enqueued_jobs()
    testing.drain()

    assert seen == [0, 1]


def test_a_step_that_is_used_wrongly_is_not_for_the_handler_of_another() -> None:
    class Process(Job):
        def perform(self) -> None:
            self.run_steps()

        @step(on_error=lambda job, error: seen.append(error))
        def load(self) -> None:
            for _ in step("inside"):
                pass

    Process.perform_later()
    testing.drain()

    assert seen == []
    assert "begins inside of step 'load'" in failure()


def test_a_cursor_over_the_limit_of_an_envelope_is_refused() -> None:
    @job
    def load() -> None:
        for cursor in step("load"):
            cursor.set("x" * 5000)

    with testing.override(size_limit=4096):
        load.perform_later()
        testing.drain()

    assert [type(failed.error) for failed in failed_jobs()] == [SerializationError]


class Lost:
    """A delivery whose job another worker has by now."""

    def verify(self, envelope: Envelope) -> None: ...

    def lost(self) -> bool:
        return True


@pytest.mark.parity("1a.31")
def test_a_job_that_is_another_workers_by_now_ends_at_its_checkpoint() -> None:
    @job
    def load() -> None:
        for cursor in step("load"):
            cursor.set(1)
            seen.append("went on")

    with pytest.raises(LeaseLost):
        execute(enqueued(load.perform_later), Lost())

    assert seen == []

from __future__ import annotations

import contextvars
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec
import pytest

from tenantjobs import (
    Current,
    Job,
    after_discard,
    after_perform,
    aperform,
    around_perform,
    before_perform,
    discard_on,
    guard,
    job,
    perform,
    rescue_from,
    retry_on,
    step,
    testing,
    transaction,
)
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnvelopeError, Interruption, LeaseLost, TenantGone, TenantMissing, UnknownJob
from tenantjobs.execution import aexecute, execute
from tenantjobs.outcome import Discarded, Failed, Finished, Quarantined, Retried
from tenantjobs.testing import enqueued_jobs
from tests.tenantjobs.enqueued import enqueued as waiting

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []
ambient: contextvars.ContextVar[str] = contextvars.ContextVar("ambient", default="untouched")


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()


def enqueued(target: Any, *args: Any, **kwargs: Any) -> bytes:
    return waiting(target.perform_later, *args, **kwargs)


def failing(error: BaseException, *policies: Any, **options: Any) -> Any:
    @job(policies=policies, **options)
    def fails() -> None:
        seen.append("run")
        raise error

    return fails


def test_a_finished_job_gives_its_value() -> None:
    @job
    def add(a: int, b: int) -> int:
        return a + b

    assert execute(enqueued(add, 1, b=2)) == Finished(3)
    assert perform(enqueued(add, 1, b=2)) == 3


async def test_the_door_has_an_asynchronous_twin_for_both_colours() -> None:
    @job
    def sync_job() -> str | None:
        return Current.tenant_id

    @job
    async def async_job() -> str | None:
        return Current.tenant_id

    assert await aexecute(enqueued(sync_job)) == Finished("acme")
    assert await aexecute(enqueued(async_job)) == Finished("acme")
    assert await aperform(enqueued(async_job)) == "acme"


@pytest.mark.parity("1c.09")
def test_a_job_that_raises_leaves_no_context_behind() -> None:
    @job
    def dirty() -> None:
        ambient.set("leaked")
        Current.set(request_id="left open").__enter__() if False else None
        raise ValueError

    outcome = contextvars.Context().run(execute, enqueued(dirty))

    assert isinstance(outcome, Failed)
    assert ambient.get() == "untouched"
    assert contextvars.Context().run(lambda: Current.scope) == "unset"


def test_a_job_that_has_become_tenancy_none_runs_in_the_systems_scope_whenever_it_was_enqueued() -> None:
    @job(tenancy="optional")
    def before() -> None: ...

    @job(name="tidy", tenancy="none", aliases=("earlier",))
    def after() -> None:
        seen.append((Current.scope, Current.capture().system))

    envelope = Envelope.decode(contextvars.Context().run(enqueued, before))
    execute(msgspec.structs.replace(envelope, name="earlier").encode())

    assert seen == [("system", "job tidy")]


def test_the_worker_runs_a_job_without_a_tenant_unscoped_never() -> None:
    @job(tenancy="optional")
    def lenient() -> None:
        seen.append(Current.scope)

    data = contextvars.Context().run(enqueued, lenient)
    strict = msgspec.json.decode(data)
    execute(data)

    @job
    def required() -> None:
        seen.append("ran")

    strict["name"] = required.name
    outcome = execute(msgspec.json.encode(strict))

    assert seen == ["unset"]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TenantMissing)


@pytest.mark.parity("1a.14", "1c.09")
def test_the_scope_of_the_worker_never_shows_inside_a_job() -> None:
    @job(tenancy="optional")
    def lenient() -> None:
        seen.append((Current.scope, Current.tenant_id))

    data = contextvars.Context().run(enqueued, lenient)
    with Current.switch("a busy worker", tenant_id="somebody-else"):
        execute(data)

    assert seen == [("unset", None)]


@pytest.mark.parity("1a.14")
def test_a_tenant_that_is_gone_stops_the_job_and_can_be_discarded() -> None:
    @job(policies=[discard_on(TenantGone, then=lambda job, error: seen.append((job.tenant_id, Current.tenant_id)))])
    def note() -> None:
        seen.append("ran")

    data = enqueued(note)
    with testing.override(tenant_locator=lambda tenant_id: None):
        outcome = execute(data)

    assert isinstance(outcome, Discarded)
    assert seen == [("acme", "acme")]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"not json", b'{"v": 99}', b"\xff\xfe"],
)
@pytest.mark.parity("1a.23")
def test_what_is_no_envelope_is_quarantined_out_of_reach_of_handlers(data: bytes) -> None:
    assert isinstance(execute(data), Quarantined)
    with pytest.raises(EnvelopeError):
        perform(data)


@pytest.mark.parity("1a.23")
def test_an_unknown_job_is_quarantined_with_the_nearest_name() -> None:
    @job(name="reports.export")
    def export() -> None: ...

    data = enqueued(export).replace(b"reports.export", b"reports.exprot")
    outcome = execute(data)

    assert isinstance(outcome, Quarantined)
    assert isinstance(outcome.error, UnknownJob)
    assert "Did you mean reports.export?" in str(outcome.error)


def test_a_module_that_a_message_names_is_never_imported() -> None:
    @job(name="antigravity.fly")
    def fly() -> None: ...

    data = enqueued(fly).replace(b"antigravity.fly", b"antigravity:geo")
    execute(data)

    assert "antigravity" not in sys.modules


def test_an_error_that_nobody_declared_fails_the_job_and_reaches_a_native_worker() -> None:
    fails = failing(ValueError("boom"))
    outcome = execute(enqueued(fails))

    assert isinstance(outcome, Failed)
    assert outcome.envelope.attempt == 1
    with pytest.raises(ValueError, match="boom"):
        perform(enqueued(fails))


@pytest.mark.parity("1a.15", "1a.22")
def test_a_retry_keeps_id_context_and_arguments_and_counts() -> None:
    @job(policies=[retry_on(ValueError, wait=60, attempts=3, jitter=0)])
    def fails(values: list[int]) -> None:
        raise ValueError

    data = enqueued(fails, [1, 2])
    first = execute(data)
    assert isinstance(first, Retried)
    second = execute(first.envelope.encode())
    assert isinstance(second, Retried)
    third = execute(second.envelope.encode())

    original = Envelope.decode(data)
    again = second.envelope
    assert (again.id, bytes(again.context), bytes(again.arguments)) == (
        original.id,
        bytes(original.context),
        bytes(original.arguments),
    )
    assert (again.attempt, list(again.counters.values())) == (2, [2])
    assert isinstance(third, Failed)


@pytest.mark.parity("1a.09")
def test_a_retry_that_is_used_up_calls_then_and_is_discarded() -> None:
    policy = retry_on(ValueError, attempts=1, then=lambda job, error: seen.append((job.attempt, str(error))))
    outcome = execute(enqueued(failing(ValueError("boom"), policy)))

    assert isinstance(outcome, Discarded)
    assert seen == ["run", (1, "boom")]


@pytest.mark.parity("1a.03")
def test_counters_of_two_declarations_are_separate() -> None:
    errors = iter([ValueError(), KeyError(), ValueError()])

    @job(policies=[retry_on(ValueError, attempts=3, wait=0), retry_on(KeyError, attempts=2, wait=0)])
    def fails() -> None:
        seen.append("run")
        raise next(errors, None) or Interruption

    fails.perform_later()
    with pytest.raises(Interruption):
        testing.drain()

    assert len(seen) == 4


def test_a_native_worker_gets_its_retry_enqueued_again() -> None:
    fails = failing(ValueError(), retry_on(ValueError, wait=60))
    data = enqueued(fails)

    assert perform(data) is None
    assert [waiting.id for waiting in enqueued_jobs()] == [Envelope.decode(data).id]
    assert enqueued_jobs()[0].due_at is not None


def test_a_discarded_job_gives_none() -> None:
    assert perform(enqueued(failing(ValueError(), discard_on(ValueError)))) is None


def test_a_handler_that_fails_fails_the_job_and_keeps_the_first_error_as_cause() -> None:
    def explode(job: Any, error: BaseException) -> None:
        raise RuntimeError("handler")

    original = ValueError("boom")
    outcome = execute(enqueued(failing(original, discard_on(ValueError, then=explode))))

    assert isinstance(outcome, Failed)
    assert (str(outcome.error), outcome.error.__cause__) == ("handler", original)


def test_a_job_that_exits_has_failed_and_the_worker_goes_on() -> None:
    assert isinstance(execute(enqueued(failing(SystemExit(3)))), Failed)


def test_an_interruption_passes_without_a_verdict() -> None:
    with pytest.raises(Interruption):
        execute(enqueued(failing(Interruption(), retry_on(Exception))))


@pytest.mark.parity("1a.09", "1a.11")
def test_after_discard_runs_for_failed_discarded_and_used_up_jobs_only() -> None:
    hook = after_discard(lambda job, error: seen.append(type(error).__name__))
    execute(enqueued(failing(ValueError(), hook, discard_on(ValueError))))
    execute(enqueued(failing(KeyError(), hook)))
    execute(enqueued(failing(OSError(), hook, retry_on(OSError, attempts=1))))
    execute(enqueued(failing(TypeError(), hook, retry_on(TypeError))))

    assert seen == ["run", "ValueError", "run", "KeyError", "run", "OSError", "run"]


def test_a_guard_that_says_no_skips_the_job_and_says_so() -> None:
    @job(policies=[guard(lambda number: number > 10)])
    def note(number: int) -> None:
        seen.append(number)

    assert execute(enqueued(note, 5)) == Finished(note="its guard said no")
    assert execute(enqueued(note, 50)) == Finished(None)
    assert seen == [50]


def test_hooks_run_around_the_job_in_their_order() -> None:
    def around(number: int) -> Iterator[None]:
        seen.append("around before")
        yield
        seen.append("around after")

    @job(
        policies=[
            before_perform(lambda number: seen.append("before 1")),
            before_perform(lambda number: seen.append("before 2")),
            around_perform(around),
            after_perform(lambda number: seen.append("after 1")),
            after_perform(lambda number: seen.append("after 2")),
        ]
    )
    def note(number: int) -> None:
        seen.append(number)

    execute(enqueued(note, 1))

    assert seen == ["before 1", "before 2", "around before", 1, "after 2", "after 1", "around after"]


def test_hooks_are_methods_of_a_job_class_and_see_its_object() -> None:
    class Hooked(Job):
        @before_perform
        def prepare(self, number: int) -> None:
            self.prepared = number

        @around_perform
        def timed(self, number: int) -> Iterator[None]:
            seen.append("start")
            yield
            seen.append("stop")

        def perform(self, number: int) -> None:
            seen.append(self.prepared)

    class Child(Hooked):
        def perform(self, number: int) -> None:
            super().perform(number)
            seen.append("child")

    execute(enqueued(Child, 7))

    assert seen == ["start", 7, "child", "stop"]


async def test_async_jobs_take_async_hooks_and_sync_ones() -> None:
    async def prepare() -> None:
        seen.append("async")

    @job(policies=[before_perform(prepare), before_perform(lambda: seen.append("sync"))])
    async def note() -> None:
        seen.append("run")

    await aexecute(enqueued(note))

    assert seen == ["async", "sync", "run"]


def test_an_async_hook_on_a_synchronous_job_fails_it_with_the_reason() -> None:
    async def prepare() -> None: ...

    @job(policies=[before_perform(prepare)])
    def note() -> None:
        seen.append("run")

    outcome = execute(enqueued(note))

    assert isinstance(outcome, Failed)
    assert "prepare gave something to await" in str(outcome.error)
    assert seen == []


def test_handlers_of_a_base_class_apply_and_the_subclass_wins() -> None:
    @retry_on(ValueError)
    class Base(Job):
        pass

    @discard_on(ValueError)
    class Child(Base):
        def perform(self) -> None:
            raise ValueError

    class Sibling(Base):
        def perform(self) -> None:
            raise ValueError

    assert isinstance(execute(enqueued(Child)), Discarded)
    assert isinstance(execute(enqueued(Sibling)), Retried)


class Sessions:
    """A data layer that only says which session is open; a tenant belongs to the session that located it."""

    def __init__(self) -> None:
        self.opened = 0
        self.current = 0
        self.committed: list[int] = []

    @contextmanager
    def session(self, **_: object) -> Iterator[None]:
        self.opened += 1
        self.current = self.opened
        try:
            yield None
            self.committed.append(self.current)
        finally:
            self.current = 0

    @asynccontextmanager
    async def asession(self, **_: object) -> AsyncIterator[None]:
        with self.session():
            yield None


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    sessions = Sessions()
    monkeypatch.setattr(transaction, "_work", sessions)
    return sessions


class Account:
    def __init__(self, tenant_id: str, session: int) -> None:
        self.id = tenant_id
        self.session = session


@pytest.mark.parity("1a.14")
def test_what_a_handler_has_written_is_committed_also_when_it_asks_for_another_attempt(sessions: Sessions) -> None:
    def again(context: Any, error: BaseException) -> None:
        seen.append(sessions.current)
        context.retry()

    outcome = execute(enqueued(failing(ValueError(), rescue_from(ValueError, then=again))))

    assert isinstance(outcome, Retried)
    assert seen == ["run", 2]
    assert sessions.committed == [2]


def test_a_handler_has_a_session_of_its_own_and_the_tenant_in_it(sessions: Sessions) -> None:
    def note(job: Any, error: BaseException) -> None:
        seen.append((sessions.current, Current.tenant.session))

    @job(policies=[discard_on(ValueError, then=note)])
    def fails() -> None:
        note(None, ValueError())
        raise ValueError

    data = enqueued(fails)
    with testing.override(tenant_locator=lambda tenant_id: Account(tenant_id, sessions.current)):
        execute(data)

    assert seen == [(1, 1), (2, 2)]


async def test_an_async_handler_has_the_tenant_awaited_for_it_or_only_the_id(sessions: Sessions) -> None:
    accounts = ["acme"]

    async def locate(tenant_id: str) -> Account | None:
        return Account(tenant_id, sessions.current) if tenant_id in accounts else None

    async def note(job: Any, error: BaseException) -> None:
        seen.append((type(error).__name__, Current.tenant_id, Current.tenant.session if accounts else None))

    @job(policies=[discard_on(ValueError, TenantGone, then=note)])
    async def fails() -> None:
        raise ValueError

    data = enqueued(fails)
    with testing.override(tenant_locator=locate):
        await aexecute(data)
        accounts.clear()
        await aexecute(data)

    assert seen == [("ValueError", "acme", 2), ("TenantGone", "acme", None)]


def test_a_job_whose_lease_is_lost_is_rolled_back_without_a_verdict() -> None:
    class Lost:
        def verify(self, envelope: Envelope) -> None: ...

        def lost(self) -> bool:
            return True

    @job(policies=[retry_on(Exception)])
    def note() -> None:
        seen.append("ran")

    with pytest.raises(LeaseLost):
        execute(enqueued(note), Lost())


def test_a_hook_around_the_job_may_take_its_error() -> None:
    def swallow() -> Iterator[None]:
        with suppress(ValueError):
            yield

    assert execute(enqueued(failing(ValueError(), around_perform(swallow)))) == Finished(None)


def test_a_predicate_that_raises_fails_the_job_with_a_verdict() -> None:
    def explode(error: BaseException) -> bool:
        raise RuntimeError("predicate")

    outcome = execute(enqueued(failing(ValueError("boom"), retry_on(explode))))

    assert isinstance(outcome, Failed)
    assert str(outcome.error) == "predicate"


async def test_something_cancelled_inside_an_async_job_fails_it() -> None:
    import asyncio

    @job
    async def awaits_a_cancelled_task() -> None:
        task = asyncio.create_task(asyncio.sleep(10))
        task.cancel()
        await task

    assert isinstance(await aexecute(enqueued(awaits_a_cancelled_task)), Failed)


def test_policies_are_heard_wherever_they_stand() -> None:
    class Declared(Job):
        policies = [discard_on(KeyError)]

        @guard
        def wanted(self, number: int) -> bool:
            return number > 0

        @discard_on(ValueError)
        def perform(self, number: int) -> None:
            raise ValueError if number == 1 else KeyError

    assert isinstance(execute(enqueued(Declared, 1)), Discarded)
    assert isinstance(execute(enqueued(Declared, 2)), Discarded)
    assert execute(enqueued(Declared, 0)) == Finished(note="its guard said no")


def test_a_hook_that_a_subclass_overrides_is_what_runs_once() -> None:
    class Parent(Job):
        @before_perform
        def prepare(self) -> None:
            seen.append("parent")

        def perform(self) -> None: ...

    class Child(Parent):
        @before_perform
        def prepare(self) -> None:
            seen.append("child")

    execute(enqueued(Child))

    assert seen == ["child"]


def test_an_exit_is_discarded_by_perform_now_as_by_a_worker() -> None:
    @job(policies=[discard_on(SystemExit)])
    def leaves() -> None:
        raise SystemExit(3)

    assert leaves.perform_now() is None
    assert isinstance(execute(enqueued(leaves)), Discarded)


@pytest.mark.parametrize("awaited", [True, False])
async def test_the_worker_of_a_broker_may_say_that_it_stops_and_a_job_with_steps_goes_on_in_another(
    awaited: bool,
) -> None:
    @job
    def count() -> None:
        for cursor in step("count", start=0):
            while cursor.value < 2:
                seen.append(cursor.value)
                cursor.advance()

    data = waiting(count.perform_later)
    if awaited:
        await aperform(data, stopping=lambda: True)
    else:
        perform(data, stopping=lambda: True)

    assert seen == [0]

    testing.drain()

    assert seen == [0, 1]

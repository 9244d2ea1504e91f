from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenantjobs import (
    Current,
    Job,
    aperform_all_later,
    current_job,
    idempotent,
    job,
    perform_all_later,
    retry_on,
    testing,
)
from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError, TenantMissing, UnsupportedCapability
from tenantjobs.testing import enqueued_jobs

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()


def a_function_job(**options: Any) -> Any:
    @job(**options)
    def note(value: Any, extra: str = "") -> str:
        seen.append((Current.tenant_id, value, extra))
        return f"noted {value}"

    return note


def test_a_job_called_bare_is_just_its_function() -> None:
    note = a_function_job()

    assert note(1) == "noted 1"
    assert enqueued_jobs() == []


def test_a_job_is_performed_later_with_the_tenant_of_the_call() -> None:
    note = a_function_job()
    note.perform_later(1, extra="x")
    with Current.switch("the other one", tenant_id="globex"):
        note.perform_later(2)

    assert testing.drain() == 2
    assert seen == [("acme", 1, "x"), ("globex", 2, "")]


@pytest.mark.parity("1a.17")
def test_a_handle_says_that_the_job_is_enqueued_and_under_which_id() -> None:
    handle = a_function_job().perform_later(1)

    assert handle.enqueued is True
    assert handle.enqueue_error is None
    assert [waiting.id for waiting in enqueued_jobs()] == [handle.job_id]


def test_a_handle_cancels_what_has_not_started() -> None:
    handle = a_function_job().perform_later(1)

    assert handle.cancel() is True
    assert testing.drain() == 0


def test_wrong_arguments_are_refused_at_the_caller() -> None:
    with pytest.raises(TypeError):
        a_function_job().perform_later()
    with pytest.raises(TypeError):
        a_function_job().perform_now(1, 2, 3)

    assert enqueued_jobs() == []


def test_without_a_tenant_the_call_is_refused_and_nothing_is_stored() -> None:
    note = a_function_job()

    def enqueue_without_a_tenant() -> None:
        import contextvars

        contextvars.Context().run(note.perform_later, 1)

    with pytest.raises(TenantMissing, match=r"note was enqueued without a tenant"):
        enqueue_without_a_tenant()
    assert enqueued_jobs() == []


def test_a_job_of_the_system_scope_travels_with_its_reason() -> None:
    scopes = []

    @job
    def sweep() -> None:
        scopes.append((Current.scope, Current.tenant_id))

    with Current.system("nightly"):
        sweep.perform_later()
    testing.drain()

    assert scopes == [("system", None)]


def test_a_job_with_tenancy_none_runs_in_the_system_scope_even_from_a_tenant() -> None:
    scopes = []

    @job(tenancy="none")
    def sweep() -> None:
        scopes.append((Current.scope, Current.tenant_id))

    sweep.perform_later()
    sweep.perform_now()
    testing.drain()

    assert scopes == [("system", None), ("system", None)]


@pytest.mark.parity("1a.18")
def test_options_of_the_job_and_of_the_call_decide_queue_priority_and_time() -> None:
    note = a_function_job(queue="mailers", priority=5)
    moment = datetime.now(UTC) + timedelta(hours=3)
    note.perform_later(1)
    note.set(queue="low", priority=0, wait=timedelta(hours=1)).perform_later(2)
    note.set(wait_until=moment, wait=5).perform_later(3)

    first, second, third = enqueued_jobs()

    assert (first.queue, first.priority, first.due_at) == ("mailers", 5, None)
    assert (second.queue, second.priority) == ("low", 0)
    assert second.due_at is not None
    assert timedelta(minutes=59) < second.due_at - datetime.now(UTC) <= timedelta(hours=1)
    assert third.due_at == moment


@pytest.mark.parity("1a.18")
def test_a_wait_of_zero_is_a_real_value() -> None:
    a_function_job().set(wait=0).perform_later(1)

    assert enqueued_jobs()[0].due_at is not None
    assert testing.drain() == 1


@pytest.mark.parity("1a.18")
def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        a_function_job().set(wait_until=datetime(2030, 1, 1))  # noqa: DTZ001  # the mistake under test


@pytest.mark.parametrize("options", [{"queue": ""}, {"queue": 3}, {"priority": "high"}, {"priority": True}])
@pytest.mark.parity("1a.18")
def test_options_of_the_wrong_kind_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        a_function_job().set(**options)
    with pytest.raises(ConfigurationError):
        a_function_job(name="other", **options)


@pytest.mark.parity("1a.20")
def test_lower_priority_runs_sooner() -> None:
    note = a_function_job()
    for priority in (5, -1, 0):
        note.set(priority=priority).perform_later(priority)
    testing.drain()

    assert [value for _, value, _ in seen] == [-1, 0, 5]


def test_a_queue_can_be_chosen_from_the_arguments() -> None:
    note = a_function_job(choose_queue=lambda value, extra="": f"q{value}")
    note.perform_later(7)
    note.set(queue="explicit").perform_later(7)

    assert [waiting.queue for waiting in enqueued_jobs()] == ["q7", "explicit"]


class Counted(Job):
    queue = "backend"
    name = "test.counted"
    aliases = ("test.old_name",)

    def choose_queue(self, number: int) -> str:
        return f"backend_{number % 2}"

    def perform(self, number: int) -> int:
        seen.append(number)
        return number + 1


def test_a_job_class_has_the_same_verbs() -> None:
    assert Counted.perform_now(1) == 2
    Counted.perform_later(2)
    Counted.set(priority=-5).perform_later(3)
    perform_all_later([Counted.call(4)])
    testing.drain()

    assert seen == [1, 3, 2, 4]


def test_a_job_class_chooses_its_queue_and_keeps_its_name() -> None:
    Counted.perform_later(3)

    assert [(waiting.name, waiting.queue) for waiting in enqueued_jobs()] == [("test.counted", "backend_1")]


def test_a_message_under_an_old_name_finds_the_job_by_its_alias(registry: dict[str, Definition]) -> None:
    assert registry["test.old_name"] is registry["test.counted"]


def test_two_jobs_of_one_name_are_refused() -> None:
    a_function_job(name="taken")

    with pytest.raises(ConfigurationError, match="two jobs are called 'taken'"):

        @job(name="taken")
        def another() -> None: ...


def test_each_attempt_gets_an_instance_of_its_own() -> None:
    class Remembering(Job):
        def perform(self) -> None:
            seen.append(getattr(self, "leftover", None))
            self.leftover = "from the last job"

    Remembering.perform_later()
    Remembering.perform_later()
    testing.drain()

    assert seen == [None, None]


@pytest.mark.parity("1a.21")
def test_many_jobs_are_enqueued_in_order_with_a_handle_each() -> None:
    note = a_function_job()
    handles = perform_all_later([note.call(1), Counted.call(2), note.set(queue="low").call(3)])

    assert [handle.job_id for handle in handles] == [waiting.id for waiting in enqueued_jobs()]
    assert [waiting.queue for waiting in enqueued_jobs()] == ["default", "backend_0", "low"]


@pytest.mark.parity("1a.21")
def test_nothing_of_a_bulk_is_stored_when_one_job_is_refused() -> None:
    note = a_function_job()

    with pytest.raises(Exception, match="value"):
        perform_all_later([note.call(1), note.call(object())])

    assert enqueued_jobs() == []


async def test_async_callers_enqueue_with_await() -> None:
    note = a_function_job()
    await note.aperform_later(1)
    await Counted.aperform_later(2)
    await note.set(queue="low").aperform_later(3)
    await aperform_all_later([note.call(4)])

    assert len(enqueued_jobs()) == 4


def test_an_async_job_runs_on_a_loop_with_its_tenant() -> None:
    @job
    async def fetch(url: str) -> None:
        import asyncio

        await asyncio.sleep(0)
        seen.append((Current.tenant_id, url, await asyncio.to_thread(lambda: Current.tenant_id)))

    fetch.perform_later("/a")
    testing.drain()

    assert seen == [("acme", "/a", "acme")]


async def test_an_async_job_is_performed_now_by_awaiting_it() -> None:
    @job
    async def double(number: int) -> int:
        return number * 2

    assert await double.perform_now(4) == 8


@pytest.mark.parity("1a.13")
def test_perform_now_raises_and_retries_nothing() -> None:
    @retry_on(ValueError, wait=0)
    @job
    def fails() -> None:
        seen.append("run")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fails.perform_now()

    assert seen == ["run"]
    assert enqueued_jobs() == []


def test_a_running_job_knows_itself_and_nobody_else_does() -> None:
    @job(queue="mailers", priority=4)
    def introspect() -> None:
        seen.append(current_job())

    handle = introspect.perform_later()
    testing.drain()
    (context,) = seen

    assert (context.id, context.queue, context.priority) == (handle.job_id, "mailers", 4)
    assert (context.attempt, context.tenant_id) == (1, "acme")
    assert current_job() is None


def test_what_an_adapter_cannot_do_is_refused_at_the_call() -> None:
    with testing.override(adapter="inline"), pytest.raises(UnsupportedCapability, match="delay"):
        a_function_job().set(wait=5).perform_later(1)

    assert seen == []


@pytest.mark.parametrize("target", [print, 3])
def test_what_is_no_function_of_ours_gives_a_clear_error(target: Any) -> None:
    from tenantjobs.jobs import definition_of

    with pytest.raises(ConfigurationError, match="is no job"):
        definition_of(target)


async def test_an_async_enqueue_belongs_to_the_tenant_and_the_values_of_the_call_not_of_the_await() -> None:
    note = a_function_job()
    values = [1]
    with Current.switch("the other one", tenant_id="globex"):
        waiting = note.aperform_later(values)
    values.append(2)
    await waiting

    assert [(each.tenant_id, each.args) for each in enqueued_jobs()] == [("globex", ([1],))]


async def test_an_async_job_performed_now_runs_in_the_scope_of_the_call() -> None:
    @job
    async def tenant() -> str | None:
        return Current.tenant_id

    with Current.switch("the other one", tenant_id="globex"):
        waiting = tenant.perform_now()

    assert await waiting == "globex"


def test_a_job_whose_name_leads_elsewhere_by_now_is_refused_rather_than_mixed_up() -> None:
    def make(number: int) -> Any:
        @job(name="made")
        def made() -> None:
            seen.append(number)

        return made

    first, second = make(1), make(2)
    second.perform_later()

    with pytest.raises(ConfigurationError, match="another job was defined under the name 'made'"):
        first.perform_later()


def test_parameters_may_have_any_name() -> None:
    @job
    def note(*, function: int, record: int, job: int, self: int = 0) -> None:
        seen.append((function, record, job, self))

    note.perform_later(function=1, record=2, job=3, self=4)
    testing.drain()

    assert seen == [(1, 2, 3, 4)]


@pytest.mark.parametrize("aliases", [[""], [5]])
def test_an_alias_is_a_name(aliases: Any) -> None:
    with pytest.raises(ConfigurationError, match="name is a text"):
        a_function_job(aliases=aliases)


def test_a_single_alias_may_be_a_text(registry: dict[str, Definition]) -> None:
    a_function_job(aliases="note.old")

    assert "note.old" in registry


def test_a_generator_is_no_job_since_nothing_would_run_it() -> None:
    with pytest.raises(ConfigurationError, match="is a generator"):

        @job
        def yields() -> Any:
            yield 1


def test_a_misspelt_option_of_a_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean queue"):
        a_function_job(quque="low")


@pytest.mark.parametrize("attribute", ["priorty", "tenency", "qeue", "alias", "enqueue_aftercommit"])
def test_a_misspelt_option_of_a_class_is_refused(attribute: str) -> None:
    with pytest.raises(ConfigurationError, match="did you mean"):
        type("Misspelt", (Job,), {attribute: 3})


@pytest.mark.parametrize("attribute", ["limit", "fname", "sessions", "priorities", "_priorty", "queued_by"])
def test_attributes_of_the_users_own_are_free(attribute: str) -> None:
    type("Free", (Job,), {attribute: 3})


def test_a_misspelt_choice_of_the_queue_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean choose_queue"):
        type("Misspelt", (Job,), {"chose_queue": lambda self: "low"})


def test_a_method_is_no_function() -> None:
    with pytest.raises(ConfigurationError, match="lose its self"):

        class Mailer:
            @job
            def send(self) -> None: ...

    with pytest.raises(ConfigurationError, match="lose its cls"):

        class Sweeper:
            @classmethod
            @job
            def sweep(cls) -> None: ...


def test_a_policy_without_its_brackets_is_no_function() -> None:
    with pytest.raises(ConfigurationError, match=r"write @idempotent\(...\)"):

        @job
        @idempotent
        def charge() -> None: ...


@pytest.mark.parametrize("target", [functools.partial(print, 1), type("Task", (), {})])
def test_what_has_no_name_of_its_own_or_is_a_class_is_no_function(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="@job decorates functions"):
        job(target)


@pytest.mark.parametrize("given", [len, a_function_job, 3])
def test_only_calls_of_jobs_are_enqueued_together(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes calls of jobs"):
        perform_all_later([given])


def test_a_job_among_the_calls_lacks_its_arguments() -> None:
    with pytest.raises(ConfigurationError, match=r"write \.call"):
        perform_all_later([a_function_job()])


def test_arguments_of_a_call_are_checked_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"^job .*too many"):
        a_function_job().call(1, 2, 3, 4, 5, 6)


def test_options_of_a_call_mean_nothing_at_once() -> None:
    with pytest.raises(ConfigurationError, match="leave set"):
        a_function_job().set(queue="low").perform_now(1)

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tenantjobs import (
    Current,
    Handle,
    Job,
    adapter,
    current_job,
    job,
    limits_concurrency,
    perform_all_later,
    retry_on,
    testing,
    unique,
)
from tenantjobs.adapter import HasPermits
from tenantjobs.errors import ConfigurationError, DuplicateJob, LimitReached, SerializationError
from tenantjobs.execution import execute
from tenantjobs.limits import pause
from tenantjobs.outcome import Discarded, Finished, Outcome, Retried
from tenantjobs.permits import Permits, Request
from tenantjobs.testing import enqueued_jobs
from tenantjobs.testing.time import movable_clock

pytestmark = pytest.mark.usefixtures("memory", "acme")

performed: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    performed.clear()


@pytest.fixture
def permits() -> Permits:
    configured = adapter.configured()
    assert isinstance(configured, HasPermits)
    return configured.permits


def limited(work: Callable[[int], object] = performed.append, name: str = "render", **options: Any) -> Any:
    others = options.pop("policies", [])
    options.setdefault("key", lambda account, part=0: account)

    @job(name=name, policies=[limits_concurrency(**options), *others])
    def render(account: int, part: int = 0) -> None:
        work(account)

    return render


def taken() -> bytes:
    """The message that has waited for longest, which no longer waits then."""
    data: bytes = adapter.configured()._waiting.pop(0)  # type: ignore[attr-defined]  # the memory adapter's own list
    return data


def beside(render: Any, *calls: Any, first: Any) -> list[Outcome]:
    """What comes of ``calls`` while ``first`` is running."""
    outcomes: list[Outcome] = []

    def inside(_account: int) -> None:
        if not outcomes:
            outcomes.append(Finished())  # only the first one does this
            for call in calls:
                perform_all_later([call])
                outcomes.append(execute(taken()))

    inner.append(inside)
    try:
        perform_all_later([first])
        execute(taken())
    finally:
        inner.pop()
    return outcomes[1:]


inner: list[Callable[[int], None]] = []


def nested(account: int) -> None:
    performed.append(account)
    if inner:
        inner[-1](account)


@pytest.mark.parity("1c.17")
def test_one_that_finds_as_many_running_as_may_comes_back_uncharged() -> None:
    render = limited(nested, to=1)

    (same, other) = beside(render, render.call(1), render.call(2), first=render.call(1))

    assert isinstance(same, Retried)
    assert same.envelope.attempt == 0
    assert same.waits_for == '["acme","render","1"]'
    assert isinstance(other, Finished)
    assert performed == [1, 2]


def test_it_runs_when_the_one_before_has_ended() -> None:
    render = limited(nested, to=1)
    (blocked,) = beside(render, render.call(1), first=render.call(1))
    assert isinstance(blocked, Retried)

    assert isinstance(execute(blocked.again().encode()), Finished)
    assert performed == [1, 1]


@pytest.mark.parity("1c.17")
def test_up_to_as_many_as_it_says_run_at_once() -> None:
    started = threading.Semaphore(0)
    end = threading.Event()

    def hold(account: int) -> None:
        started.release()
        end.wait(10)

    render = limited(hold, to=2)
    perform_all_later([render.call(1, part) for part in range(3)])
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda data=taken(): outcomes.append(execute(data))) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.acquire()
    started.acquire()
    while not outcomes:
        time.sleep(0.001)
    end.set()
    for thread in threads:
        thread.join()

    assert [type(outcome) for outcome in outcomes] == [Retried, Finished, Finished]


@pytest.mark.parity("1c.17")
@pytest.mark.parametrize(("per_tenant", "wanted"), [(True, Finished), (False, Retried)])
def test_tenants_are_counted_apart_unless_it_says_so(per_tenant: bool, wanted: type) -> None:
    render = limited(nested, to=1, per_tenant=per_tenant)
    outcomes: list[Outcome] = []

    def inside(account: int) -> None:
        if Current.tenant_id == "acme":
            with Current.switch("the other one", tenant_id="globex"):
                render.perform_later(account)
            outcomes.append(execute(taken()))

    inner.append(inside)
    render.perform_later(1)
    execute(taken())
    inner.pop()

    assert [type(outcome) for outcome in outcomes] == [wanted]


@pytest.mark.parity("1c.17")
def test_without_a_key_all_of_the_class_share_the_limit() -> None:
    render = limited(nested, to=1, key=None)

    (other,) = beside(render, render.call(2), first=render.call(1))

    assert isinstance(other, Retried)


@pytest.mark.parity("1c.17")
def test_a_group_is_shared_by_several_jobs() -> None:
    one = limited(nested, to=1, group="storage", name="one")
    two = limited(nested, to=1, group="storage", name="two")
    three = limited(nested, to=1, name="three")

    outcomes = beside(one, two.call(1), three.call(1), first=one.call(1))

    assert [type(outcome) for outcome in outcomes] == [Retried, Finished]


def test_a_class_and_its_subclasses_may_be_limited() -> None:
    @limits_concurrency(to=1, key=lambda job, account: f"{type(job).__name__}:{account}")
    class Base(Job):
        def perform(self, account: int) -> None:
            nested(account)

    class Special(Base): ...

    outcomes = beside(Base, Base.call(1), Special.call(1), first=Base.call(1))

    assert [type(outcome) for outcome in outcomes] == [Retried, Finished]


@pytest.mark.parametrize("ending", ["raises", "retries", "interrupts"])
def test_however_it_ends_its_permit_is_given_back(ending: str) -> None:
    def end(account: int) -> None:
        performed.append(account)
        running = current_job()
        if ending == "retries" and running is not None:
            running.retry(wait=60)
        raise KeyboardInterrupt if ending == "interrupts" else ConnectionError

    render = limited(end, to=1)
    for _ in range(2):
        render.perform_later(1)
        try:
            execute(taken())
        except KeyboardInterrupt:
            assert ending == "interrupts"

    assert performed == [1, 1]


@pytest.mark.parity("1c.17")
def test_a_holder_that_died_keeps_the_others_waiting_for_the_duration(permits: Permits) -> None:
    render = limited(to=1, duration=timedelta(seconds=30))
    permits.take([Request('["acme","render","1"]', 1, "acme", "dead", "dead", 30)])

    with movable_clock() as clock:
        render.perform_later(1)
        before = execute(taken())
        clock.move(31)
        render.perform_later(1)
        after = execute(taken())

    assert (type(before), type(after)) == (Retried, Finished)


def test_one_that_runs_longer_than_the_duration_keeps_its_permit(permits: Permits) -> None:
    def work(account: int) -> None:
        time.sleep(0.7)
        performed.append(permits.take([Request('["acme","render","1"]', 1, "acme", "b", "b", 30)]))

    limited(work, to=1, duration=0.5).perform_later(1)
    execute(taken())

    assert performed == [{"b"}]


def test_one_whose_permit_another_has_by_now_is_rolled_back_and_comes_again(permits: Permits) -> None:
    def work(account: int) -> None:
        held = next(iter(permits._held.values()))  # type: ignore[attr-defined]  # as an expiry would leave it
        held.clear()
        time.sleep(0.06)

    limited(work, to=1, duration=0.05).perform_later(1)
    outcome = execute(taken())

    assert isinstance(outcome, Retried)
    assert outcome.envelope.attempt == 0


@pytest.mark.parity("1c.17")
def test_on_conflict_discard_refuses_at_the_call_what_would_be_too_many() -> None:
    render = limited(to=2, on_conflict="discard")

    handles = [render.perform_later(1, part) for part in range(3)]

    assert [handle.enqueued for handle in handles] == [True, True, False]
    assert isinstance(handles[2].enqueue_error, LimitReached)
    assert isinstance(handles[2].enqueue_error, DuplicateJob), "whoever handles conflicts handles it too"
    assert len(enqueued_jobs()) == 2


def test_they_are_let_in_again_when_the_ones_before_have_ended() -> None:
    render = limited(to=1, on_conflict="discard")
    render.perform_later(1)
    testing.drain()

    assert render.perform_later(1).enqueued
    testing.drain()
    assert performed == [1, 1]


def test_each_of_many_is_told_whether_it_is_one_too_many() -> None:
    render = limited(to=2, on_conflict="discard")

    handles = perform_all_later([render.call(1), render.call(1, 2), render.call(2), render.call(1, 3)])

    assert [handle.enqueued for handle in handles] == [True, True, True, False]


def test_cancelling_one_that_waits_gives_its_place_to_another() -> None:
    render = limited(to=1, on_conflict="discard")
    first: Handle = render.perform_later(1)

    assert first.cancel()
    assert render.perform_later(1).enqueued


@pytest.mark.parity("1c.17")
def test_a_place_that_was_reserved_ends_with_the_duration() -> None:
    render = limited(to=1, on_conflict="discard", duration=30)
    with movable_clock() as clock:
        render.perform_later(1)
        clock.move(31)

        assert render.perform_later(1).enqueued


def test_one_for_later_is_decided_about_when_it_would_start() -> None:
    render = limited(nested, to=1, on_conflict="discard")

    outcomes: list[Outcome] = []

    def inside(_account: int) -> None:
        if not outcomes:
            assert render.set(wait=60).perform_later(1).enqueued
            outcomes.append(execute(taken()))

    inner.append(inside)
    render.perform_later(1)
    execute(taken())
    inner.pop()

    assert isinstance(outcomes[0], Discarded)


@pytest.mark.parity("1c.17")
def test_one_that_has_started_before_waits_and_is_not_discarded() -> None:
    tried: list[int] = []

    def work(account: int) -> None:
        tried.append(account)
        if len(tried) == 1:
            raise ConnectionError

    render = limited(work, to=1, on_conflict="discard", policies=[retry_on(ConnectionError, wait=0)])
    render.perform_later(1)
    again = execute(taken())
    assert isinstance(again, Retried)
    render.perform_later(1)  # has the place now

    assert isinstance(execute(again.again().encode()), Retried)


@pytest.mark.parity("1c.17")
def test_a_unique_job_that_is_refused_by_its_limit_leaves_its_key_free() -> None:
    render = limited(to=1, on_conflict="discard", policies=[unique("until_executed", key=lambda _, part=0: part)])
    first = render.perform_later(1, 1)
    second = render.perform_later(1, 2)
    first.cancel()

    assert second.enqueued is False
    assert render.perform_later(1, 2).enqueued


def test_one_that_replaces_another_has_its_place() -> None:
    others = [unique("until_executed", key=lambda account, part=0: account, on_conflict="replace")]
    render = limited(to=1, on_conflict="discard", policies=others)
    first, second = render.perform_later(1, 1), render.perform_later(1, 2)

    assert second.enqueued
    assert [waiting.args for waiting in enqueued_jobs()] == [(1, 2)]
    assert first.job_id != second.job_id


def test_perform_now_is_one_of_those_that_may_run() -> None:
    def inside(account: int) -> None:
        performed.append(account)
        if len(performed) == 1:
            render.perform_now(2)
            with pytest.raises(LimitReached):
                render.perform_now(1)

    render = limited(inside, to=1)
    render.perform_now(1)
    render.perform_now(1)

    assert performed == [1, 2, 1]


async def test_an_async_job_is_limited_in_the_same_way() -> None:
    refused = []

    @job(policies=[limits_concurrency()])
    async def render() -> None:
        try:
            await render.perform_now()
        except LimitReached as error:
            refused.append(error)

    await render.perform_now()

    assert len(refused) == 1


def test_without_a_queue_there_is_nothing_to_wait_in() -> None:
    render = limited(nested, to=1)
    permits = adapter.configured().permits  # type: ignore[attr-defined]  # the memory adapter has them
    with testing.override(adapter="inline"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(adapter.configured()), "permits", permits, raising=False)
        inner.append(lambda account: inner.pop() and render.perform_later(account))

        with pytest.raises(LimitReached, match="nothing to wait in"):
            render.perform_later(1)


def test_a_queue_without_a_ledger_refuses_at_the_call() -> None:
    render = limited()
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match=r"render is limited.*no ledger"):
        render.perform_later(1)


def test_one_that_was_enqueued_before_it_was_limited_is_performed(registry: dict[str, Any]) -> None:
    @job(name="render")
    def render(account: int, part: int = 0) -> None: ...

    render.perform_later(1)
    del registry["render"]
    limited(to=1)
    testing.drain()

    assert performed == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": 0}, "to=0"),
        ({"to": True}, "to=True"),
        ({"key": "storage"}, "a name that jobs share is group="),
        ({"group": ""}, "group=''"),
        ({"duration": 0}, "duration=0"),
        ({"on_conflict": "raise"}, "'block', 'discard'"),
        ({"per_tenant": None}, "per_tenant=None"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        limits_concurrency(**options)


def test_twice_on_one_job_is_refused() -> None:
    render = limited(policies=[limits_concurrency(to=2)])

    with pytest.raises(ConfigurationError, match="@limits_concurrency twice"):
        render.perform_later(1)


@pytest.mark.parametrize("key", [lambda _: None, lambda _: "", lambda _: 1 / 0])
@pytest.mark.parity("1c.17")
def test_a_key_that_is_none_is_refused_at_the_call(key: Any) -> None:
    @job(policies=[limits_concurrency(key=key)])
    def render(account: int) -> None: ...

    with pytest.raises(SerializationError, match="key of its limit"):
        render.perform_later(1)
    assert enqueued_jobs() == []


def test_the_longer_one_has_waited_the_rarer_it_asks(permits: Permits) -> None:
    render = limited(nested, to=1)
    (blocked,) = beside(render, render.call(1), first=render.call(1))
    assert isinstance(blocked, Retried)

    with movable_clock() as clock:
        waits = []
        for _ in range(4):
            waits.append(pause(blocked.envelope))
            clock.move(40)

    assert 0.3 < waits[0] <= 0.5
    assert 3 < waits[1] <= 5.5
    assert 7 < waits[3] <= 10

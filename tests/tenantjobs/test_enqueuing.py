"""Where a job goes, and what is told of each of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from tenantjobs import (
    Current,
    Job,
    PartlyEnqueued,
    adapter,
    aperform_all_later,
    around_enqueue,
    current_job,
    job,
    perform_all_later,
    retry_on,
    testing,
)
from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, CrossTenantSwitch, EnqueueError, UnsupportedCapability
from tenantjobs.execution import execute
from tenantjobs.outcome import Failed, Retried
from tenantjobs.testing import enqueued_jobs
from tests.tenantjobs.enqueued import enqueued

pytestmark = pytest.mark.usefixtures("memory")


@job
def note(number: int = 0) -> None: ...


class Chosen(Job):
    queue = "backend"
    priority = 7

    def choose_queue(self, size: int) -> str | None:
        return "huge" if size > 100 else None

    def choose_priority(self, size: int) -> int | None:
        return 0 if size == 0 else size if size > 100 else None

    def perform(self, size: int) -> None: ...


@pytest.mark.usefixtures("acme")
@pytest.mark.parity("1a.19", "1a.20")
def test_queue_and_priority_are_computed_from_the_arguments_or_left_to_the_declaration() -> None:
    for size in (1, 500, 0):
        Chosen.perform_later(size)
    Chosen.set(queue="asked", priority=1).perform_later(500)

    assert [(waiting.queue, waiting.priority) for waiting in enqueued_jobs()] == [
        ("backend", 7),
        ("huge", 500),
        ("backend", 0),
        ("asked", 1),
    ]


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("wrong", [{"choose_queue": lambda number=0: ""}, {"choose_priority": lambda number=0: "high"}])
@pytest.mark.parity("1a.19", "1a.20")
def test_a_choice_that_no_queue_could_store_is_refused_at_the_call(wrong: dict[str, Any]) -> None:
    @job(**wrong)
    def chosen(number: int = 0) -> None: ...

    with pytest.raises(ConfigurationError):
        chosen.perform_later()


@pytest.mark.usefixtures("acme")
@pytest.mark.parity("1a.19")
def test_a_prefix_is_put_before_every_name_of_a_queue() -> None:
    @job(policies=[retry_on(ValueError, queue="slow", wait=0)])
    def fails() -> None:
        raise ValueError

    @job
    def asks() -> None:
        running = current_job()
        assert running is not None
        running.retry(queue="slow")

    with testing.override(queue_prefix="shop_"):
        note.perform_later()
        note.set(queue="low").perform_later()
        Chosen.perform_later(500)
        assert [waiting.queue for waiting in enqueued_jobs()] == ["shop_default", "shop_low", "shop_huge"]
        for each in (fails, asks):
            outcome = execute(enqueued(each.perform_later))
            assert isinstance(outcome, Retried)
            assert outcome.envelope.queue == "shop_slow"


# many


@pytest.mark.parity("1a.21")
def test_calls_that_were_made_for_different_tenants_are_enqueued_at_once() -> None:
    calls = []
    for tenant_id in ("acme", "globex"):
        with Current.set(tenant_id=tenant_id):
            calls += [note.call(1), Chosen.call(500)]
    with Current.system("a nightly sweep"):
        handles = perform_all_later(calls)

    assert [handle.enqueued for handle in handles] == [True] * 4
    assert [(waiting.tenant_id, waiting.queue) for waiting in enqueued_jobs()] == [
        ("acme", "default"),
        ("acme", "huge"),
        ("globex", "default"),
        ("globex", "huge"),
    ]


def test_a_call_of_another_tenant_is_refused_in_the_scope_of_a_tenant() -> None:
    with Current.set(tenant_id="globex"):
        call = note.call(1)
    with Current.set(tenant_id="acme"), pytest.raises(CrossTenantSwitch, match="globex"):
        perform_all_later([call])

    assert enqueued_jobs() == []


class OneByOne:
    """An adapter that refuses job 2, and may go away at job 3."""

    capabilities = Capabilities(delay=True)

    def __init__(self, *, goes_away: bool) -> None:
        self.goes_away = goes_away
        self.stored: list[int] = []
        self.asked = 0

    def enqueue(self, envelope: Envelope) -> None:
        self.asked += 1
        number = int(bytes(envelope.arguments).strip(b"[]{},") or 0)
        if number == 2:
            raise EnqueueError("refused")
        if number >= 3 and self.goes_away:
            raise ConnectionError("down")
        self.stored.append(number)

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        raise AssertionError("it does not declare bulk")

    def close(self) -> None: ...


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[OneByOne]:
    queue = OneByOne(goes_away=request.param)
    monkeypatch.setattr(adapter, "configured", lambda: queue)
    with Current.set(tenant_id="acme"):
        yield queue


@pytest.mark.parametrize("queue", [False], indirect=True)
@pytest.mark.parity("1a.21")
def test_a_job_that_the_queue_refuses_is_told_by_its_handle_and_keeps_no_other_back(queue: OneByOne) -> None:
    handles = perform_all_later([note.call(number) for number in (1, 2, 3)])

    assert queue.stored == [1, 3]
    assert [handle.enqueued for handle in handles] == [True, False, True]
    assert [str(handle.enqueue_error) for handle in handles] == ["None", "refused", "None"]


@pytest.mark.parametrize("queue", [True], indirect=True)
@pytest.mark.parity("1a.21")
async def test_a_queue_that_goes_away_is_raised_with_the_outcome_of_each_job(queue: OneByOne) -> None:
    with pytest.raises(PartlyEnqueued) as raised:
        await aperform_all_later([note.call(number) for number in (1, 2, 3, 4, 5)])

    handles = raised.value.handles
    assert [handle.enqueued for handle in handles] == [True, False, False, False, False]
    assert [type(handle.enqueue_error).__name__ for handle in handles[1:]] == [
        "EnqueueError",
        *["ConnectionError"] * 3,
    ]
    assert queue.asked == 3


@pytest.mark.parametrize("queue", [True], indirect=True)
@pytest.mark.parity("1a.21")
def test_a_queue_that_takes_nothing_raises_its_own_error(queue: OneByOne) -> None:
    with pytest.raises(ConnectionError, match="down"):
        perform_all_later([note.call(3), note.call(4)])
    with pytest.raises(ConnectionError, match="down"):
        note.perform_later(3)


@pytest.mark.parametrize("queue", [True], indirect=True)
@pytest.mark.parity("1a.17")
def test_a_handle_says_why_a_job_is_not_enqueued_also_where_a_hook_takes_the_error(queue: OneByOne) -> None:
    def tolerant(number: int) -> Iterator[None]:
        with suppress(ConnectionError):
            yield

    @job(policies=[around_enqueue(tolerant)])
    def tolerated(number: int) -> None: ...

    handle = tolerated.perform_later(3)

    assert (handle.enqueued, str(handle.enqueue_error)) == (False, "down")


@pytest.mark.parametrize("queue", [False], indirect=True)
def test_a_priority_for_retries_is_refused_at_the_call_where_the_queue_knows_none(queue: OneByOne) -> None:
    @job(policies=[retry_on(ValueError, priority=5)])
    def hurried() -> None: ...

    with pytest.raises(UnsupportedCapability, match="retry_on"):
        hurried.perform_later()


@pytest.mark.parity("1a.15")
def test_a_priority_that_a_job_asks_for_where_the_queue_knows_none_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @job
    def asks() -> None:
        running = current_job()
        assert running is not None
        running.retry(priority=5)

    with Current.set(tenant_id="acme"):
        data = enqueued(asks.perform_later)
    monkeypatch.setattr(adapter, "configured", lambda: OneByOne(goes_away=False))
    outcome = execute(data)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnsupportedCapability)

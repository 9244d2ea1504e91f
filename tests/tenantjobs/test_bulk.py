"""Many plain jobs at once, and all that makes jobs others than plain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tenantjobs import (
    Current,
    PartlyEnqueued,
    TenantMissing,
    adapter,
    before_enqueue,
    bulk,
    instrumentation,
    job,
    perform_all_later,
    testing,
)
from tenantjobs.bulk import Envelopes, NotPlain
from tenantjobs.envelope import Envelope
from tenantjobs.errors import EnqueueError, SerializationError
from tenantjobs.instrumentation import Enqueued
from tenantjobs.testing import enqueued_jobs
from tenantjobs.testing.memory import MemoryAdapter
from tests.tenantjobs.test_transaction import OpenTransaction, opened

__all__ = ["opened"]

pytestmark = pytest.mark.usefixtures("memory")


@job
def note(number: int, text: str = "") -> None: ...


@job(choose_queue=lambda number: "odd" if number % 2 else None)
def sorted_out(number: int) -> None: ...


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call for many jobs was one for plain ones."""
    calls: list[bool] = []
    enqueue = bulk.enqueue

    def counted(*given: Any) -> Any:
        handles = enqueue(*given)
        calls.append(handles is not None)
        return handles

    monkeypatch.setattr(bulk, "enqueue", counted)
    return calls


def test_plain_jobs_keep_their_order_their_tenants_and_their_options(plain: list[bool]) -> None:
    with Current.set(tenant_id="acme"):
        calls = [note.call(1), note.call(2, text="two"), note.set(queue="slow", priority=3).call(3)]
    with Current.set(tenant_id="globex"):
        calls += [note.call(number=4)]
    with Current.system("a nightly sweep"):
        handles = perform_all_later(calls)

    assert plain == [True]
    waiting = enqueued_jobs()
    assert [handle.job_id for handle in handles] == [each.id for each in waiting]
    assert [(handle.name, handle.enqueued) for handle in handles] == [(note.name, True)] * 4
    assert [(each.tenant_id, each.queue, each.args) for each in waiting] == [
        ("acme", "default", (1,)),
        ("acme", "default", (2, "two")),
        ("acme", "slow", (3,)),
        ("globex", "default", (4,)),
    ]


@pytest.mark.usefixtures("acme")
def test_plain_jobs_are_as_those_that_are_enqueued_one_by_one(plain: list[bool]) -> None:
    perform_all_later([note.call(1)])
    note.perform_later(1)

    one, other = enqueued_jobs()
    assert plain == [True]
    assert (one.name, one.args, one.queue, one.priority) == (other.name, other.args, other.queue, other.priority)


@pytest.mark.usefixtures("acme")
def test_arguments_are_those_of_the_call(plain: list[bool]) -> None:
    found: list[int] = [1]
    perform_all_later([note.call(found)])  # type: ignore[arg-type]  # it has no say in what travels
    found.append(2)

    assert plain == [True]
    assert enqueued_jobs()[0].args == ([1],)


@pytest.mark.usefixtures("acme")
def test_one_job_whose_arguments_choose_its_queue_makes_none_of_them_plain(plain: list[bool]) -> None:
    handles = perform_all_later([note.call(1), sorted_out.call(3), note.call(2)])

    assert plain == [False]
    assert [each.queue for each in enqueued_jobs()] == ["default", "odd", "default"]
    assert [handle.enqueued for handle in handles] == [True] * 3


@pytest.mark.usefixtures("acme")
def test_an_open_transaction_holds_them(plain: list[bool], opened: OpenTransaction) -> None:
    handles = perform_all_later([note.call(1), note.call(2)])

    assert plain == [False]
    assert [held.job_id for held in opened.held] == [handle.job_id for handle in handles]
    assert enqueued_jobs() == []


@pytest.mark.usefixtures("acme")
def test_who_listens_is_told_of_each(plain: list[bool]) -> None:
    heard: list[str] = []
    with instrumentation.subscribe(lambda event: heard.append(event.job.id), Enqueued):
        handles = perform_all_later([note.call(1), note.call(2)])

    assert plain == [False]
    assert heard == [handle.job_id for handle in handles]


@pytest.mark.usefixtures("acme")
def test_the_log_has_a_line_for_each_where_it_has_lines_of_this_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tenantjobs"):
        handles = perform_all_later([note.call(1), note.call(2)])

    assert [record.__dict__["job_id"] for record in caplog.records] == [handle.job_id for handle in handles]


# one alone


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call for one job was one for a plain job."""
    calls: list[bool] = []
    enqueue = bulk.enqueue_one

    def counted(*given: Any) -> Any:
        handle = enqueue(*given)
        calls.append(handle is not None)
        return handle

    monkeypatch.setattr(bulk, "enqueue_one", counted)
    return calls


@pytest.mark.usefixtures("acme")
def test_a_plain_job_alone_is_enqueued_as_it_is(alone: list[bool]) -> None:
    handle = note.set(queue="slow").perform_later(1, text="one")

    (waiting,) = enqueued_jobs()
    assert alone == [True]
    assert handle.enqueued
    assert (waiting.id, waiting.queue, waiting.tenant_id, waiting.args) == (handle.job_id, "slow", "acme", (1, "one"))


@pytest.mark.usefixtures("acme", "registry")
def test_a_job_alone_with_a_hook_around_its_enqueuing_is_not_plain(alone: list[bool]) -> None:
    hooked: list[int] = []

    @job(name="hooked", policies=[before_enqueue(lambda number: hooked.append(number))])
    def with_hook(number: int) -> None: ...

    with_hook.perform_later(7)

    assert (alone, hooked) == ([False], [7])


@pytest.mark.usefixtures("acme")
def test_a_job_alone_that_the_queue_refuses_is_told_in_the_log(
    alone: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = Refusing(lambda _envelopes: ConnectionError("down"))
    monkeypatch.setattr(adapter, "configured", lambda: target)
    with pytest.raises(ConnectionError, match="down"):
        note.perform_later(1)

    assert [record.__dict__["outcome"] for record in caplog.records] == ["refused"]


# what cannot be enqueued


def test_a_job_without_its_tenant_is_refused_and_none_is_enqueued() -> None:
    with Current.set(tenant_id="acme"):
        calls = [note.call(1)]
    calls.append(note.call(2))
    with testing.override(tenancy="required"), pytest.raises(TenantMissing):
        perform_all_later(calls)

    assert enqueued_jobs() == []


@pytest.mark.usefixtures("acme")
def test_arguments_that_cannot_travel_are_refused_and_none_is_enqueued(caplog: pytest.LogCaptureFixture) -> None:
    calls = [note.call(1), note.call(object())]  # type: ignore[arg-type]  # it has no say in what travels
    with pytest.raises(SerializationError, match="argument number"):
        perform_all_later(calls)

    assert enqueued_jobs() == []
    assert caplog.records == []


class Refusing(MemoryAdapter):
    """It raises what it is given, whatever it is to enqueue."""

    def __init__(self, error: Callable[[Sequence[Envelope]], Exception]) -> None:
        super().__init__()
        self.error = error

    def enqueue(self, envelope: Envelope) -> None:
        raise self.error([envelope])

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        raise self.error(envelopes)


@pytest.mark.usefixtures("acme")
def test_each_is_told_in_the_log_when_the_queue_refuses_all(
    plain: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = Refusing(lambda _envelopes: ConnectionError("down"))
    monkeypatch.setattr(adapter, "configured", lambda: target)
    with pytest.raises(ConnectionError, match="down"):
        perform_all_later([note.call(1), note.call(2)])

    assert [record.__dict__["outcome"] for record in caplog.records] == ["refused", "refused"]


class AllOrNone(Refusing):
    """It stores jobs by transactions of its own, so that they are made as it takes them."""

    def transaction(self) -> AbstractContextManager[object]:
        raise NotImplementedError

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        raise NotImplementedError


@pytest.mark.usefixtures("acme")
def test_a_queue_that_refuses_all_before_it_looks_at_them_raises_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    target = AllOrNone(lambda _envelopes: ConnectionError("down"))
    monkeypatch.setattr(adapter, "configured", lambda: target)
    with pytest.raises(ConnectionError, match="down"):
        perform_all_later([note.call(1), sorted_out.call(3)])


@pytest.mark.usefixtures("acme")
def test_those_that_the_queue_has_not_taken_are_told_by_their_handles(
    plain: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Refusing(lambda envelopes: PartlyEnqueued({envelopes[1].id: EnqueueError("refused")}))
    monkeypatch.setattr(adapter, "configured", lambda: target)
    handles = perform_all_later([note.call(1), note.call(2), note.call(3)])

    assert plain == [True]
    assert [handle.enqueued for handle in handles] == [True, False, True]
    assert str(handles[1].enqueue_error) == "refused"


@pytest.mark.usefixtures("acme")
def test_an_error_that_is_not_about_a_job_is_raised_with_all_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Refusing(lambda envelopes: PartlyEnqueued({envelopes[1].id: ConnectionError("down")}))
    monkeypatch.setattr(adapter, "configured", lambda: target)
    with pytest.raises(PartlyEnqueued) as raised:
        perform_all_later([note.call(1), note.call(2)])

    assert [handle.enqueued for handle in raised.value.handles] == [True, False]


# envelopes


@pytest.mark.usefixtures("acme")
def test_an_envelope_is_made_when_it_is_asked_for_and_once() -> None:
    envelopes = Envelopes([note.call(1), note.call(2)], adapter.configured())
    first = next(iter(envelopes))

    assert len(envelopes) == 2
    assert envelopes[0] is first
    assert list(envelopes) == [first, envelopes[1]] == envelopes[0:2]


@pytest.mark.usefixtures("acme")
def test_why_one_cannot_be_made_is_said_each_time() -> None:
    envelopes = Envelopes([note.call(1), sorted_out.call(2)], adapter.configured())
    for _ in range(2):
        with pytest.raises(NotPlain):
            list(envelopes)

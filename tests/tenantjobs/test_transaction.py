from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from tenantjobs import (
    Abort,
    Current,
    PartlyEnqueued,
    adapter,
    after_enqueue,
    before_enqueue,
    job,
    on_commit,
    perform_all_later,
    testing,
    transaction,
)
from tenantjobs.adapter import Adapter, Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, EnqueueError
from tenantjobs.testing import enqueued_jobs
from tenantjobs.transaction import Held

pytestmark = pytest.mark.usefixtures("memory", "acme")


class OpenTransaction:
    """A transaction that is always open, until ``commit`` or ``rollback``."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.callbacks: list[Callable[[], object]] = []

    def takes(self, adapter: Adapter) -> bool:
        return True

    def hold(self, held: Sequence[Held], adapter: Adapter) -> bool:
        self.held.extend(held)
        return True

    def on_commit(self, callback: Callable[[], object]) -> bool:
        self.callbacks.append(callback)
        return True

    def obstacle(self, adapter: Adapter) -> str | None:
        return None


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> OpenTransaction:
    source = OpenTransaction()
    monkeypatch.setattr(transaction, "_transactions", source)
    return source


@job
def note(value: Any) -> None: ...


@job(enqueue_after_commit=False)
def urgent(value: Any) -> None: ...


def test_a_job_waits_for_the_open_transaction(opened: OpenTransaction) -> None:
    handle = note.perform_later(1)

    assert handle.enqueued is None
    assert enqueued_jobs() == []

    transaction.send(opened.held, adapter.configured())

    assert handle.enqueued is True
    assert [waiting.id for waiting in enqueued_jobs()] == [handle.job_id]


def test_the_arguments_are_those_of_the_call_not_of_the_commit(opened: OpenTransaction) -> None:
    values = [1, 2]
    note.perform_later(values)
    values.append(3)
    transaction.send(opened.held, adapter.configured())

    assert enqueued_jobs()[0].args == ([1, 2],)


def test_a_job_that_opts_out_leaves_at_once(opened: OpenTransaction) -> None:
    handles = perform_all_later([note.call(1), urgent.call(2)])

    assert [handle.enqueued for handle in handles] == [None, True]
    assert [waiting.name for waiting in enqueued_jobs()] == [urgent.name]


def test_a_job_that_is_cancelled_while_it_waits_never_leaves(opened: OpenTransaction) -> None:
    handle = note.perform_later(1)

    assert handle.cancel() is True

    transaction.send(opened.held, adapter.configured())

    assert enqueued_jobs() == []
    assert handle.enqueued is False


@pytest.mark.parity("1a.16")
def test_hooks_run_at_the_call_and_the_one_after_it_with_the_commit(opened: OpenTransaction) -> None:
    seen: list[Any] = []

    @job(
        policies=[
            before_enqueue(lambda value: seen.append(("before", value))),
            after_enqueue(lambda value: seen.append(("after", value, Current.tenant_id))),
        ]
    )
    def hooked(value: Any) -> None: ...

    hooked.perform_later(1)
    hooked.perform_later(2)
    dropped = opened.held.pop()
    at_the_call = list(seen)
    dropped.dropped("rolled back")
    with Current.switch("somebody else commits", tenant_id="globex"):
        transaction.send(opened.held, adapter.configured())

    assert at_the_call == [("before", 1), ("before", 2)]
    assert seen == [*at_the_call, ("after", 1, "acme")]


def test_an_aborted_job_does_not_wait_for_the_transaction(opened: OpenTransaction) -> None:
    def stop(value: Any) -> None:
        raise Abort("not today")

    @job(policies=[before_enqueue(stop)])
    def hooked(value: Any) -> None: ...

    handle = hooked.perform_later(1)

    assert (handle.enqueued, opened.held) == (False, [])


@pytest.mark.parity("1a.21")
def test_the_outcome_of_each_job_is_told_after_the_commit(opened: OpenTransaction) -> None:
    handles = [note.perform_later(number) for number in (1, 2)]
    refusal = EnqueueError("refused")

    class Partly:
        capabilities = Capabilities(bulk=True)

        def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
            raise PartlyEnqueued({envelopes[1].id: refusal})

    transaction.send(opened.held, Partly())  # type: ignore[arg-type]  # only what is asked of it

    assert [(handle.enqueued, handle.enqueue_error) for handle in handles] == [(True, None), (False, refusal)]


def test_a_queue_that_is_down_after_the_commit_is_told_by_the_handle(opened: OpenTransaction) -> None:
    handle = note.perform_later(1)

    class Down:
        capabilities = Capabilities(bulk=True)

        def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
            raise ConnectionError("down")

    transaction.send(opened.held, Down())  # type: ignore[arg-type]  # only what is asked of it

    assert handle.enqueued is False
    assert str(handle.enqueue_error) == "down"


def test_a_job_that_cannot_be_sealed_does_not_take_the_others_along(opened: OpenTransaction) -> None:
    first, second = note.perform_later(1), note.perform_later(2)
    broken = ValueError("no key")

    def refuse() -> Envelope:
        raise broken

    opened.held[0] = _Unsealable(opened.held[0], refuse)
    transaction.send(opened.held, adapter.configured())

    assert (first.enqueued, first.enqueue_error) == (False, broken)
    assert second.enqueued is True


def test_without_a_transaction_a_callback_runs_at_once() -> None:
    seen: list[str] = []
    on_commit(lambda: seen.append("now"))

    assert seen == ["now"]


def test_a_callback_waits_for_the_commit(opened: OpenTransaction) -> None:
    seen: list[str] = []
    on_commit(lambda: seen.append("later"))

    assert seen == []

    for callback in opened.callbacks:
        callback()

    assert seen == ["later"]


def test_a_callback_is_deferred_only_if_there_is_something_to_wait_for(opened: OpenTransaction) -> None:
    seen: list[str] = []

    assert transaction.defer(lambda: seen.append("later"))
    assert len(opened.callbacks) == 1
    assert seen == []


def test_without_a_transaction_nothing_is_deferred_or_called() -> None:
    seen: list[str] = []

    assert not transaction.defer(lambda: seen.append("now"))
    assert seen == []


def test_drain_performs_nothing_that_still_waits_for_a_commit(opened: OpenTransaction) -> None:
    note.perform_later(1)

    assert testing.drain() == 0


class _Unsealable:
    def __init__(self, held: Held, seal: Callable[[], Envelope]) -> None:
        self._held = held
        self.seal = seal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)


async def _announce() -> None: ...


class _Announcer:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize("callback", [_announce, partial(_announce), _Announcer(), _Announcer().__call__])
@pytest.mark.parametrize("is_open", [True, False])
def test_an_async_callback_is_refused(
    callback: Callable[[], object], is_open: bool, request: pytest.FixtureRequest
) -> None:
    opened = request.getfixturevalue("opened") if is_open else None
    with pytest.raises(ConfigurationError, match="never be awaited"):
        on_commit(callback)

    assert opened is None or opened.callbacks == []


def test_a_callback_that_turns_out_to_be_async_is_an_error_too() -> None:
    with pytest.raises(ConfigurationError, match="made a coroutine"):
        on_commit(lambda: _announce())


@pytest.mark.parametrize("callback", [3, None, lambda order: order])
def test_what_cannot_be_called_without_arguments_is_refused_at_the_call(callback: Any) -> None:
    with pytest.raises(ConfigurationError, match="called without arguments"):
        on_commit(callback)


def test_a_callback_may_have_defaults(opened: OpenTransaction) -> None:
    on_commit(lambda order=1: order)

    assert len(opened.callbacks) == 1

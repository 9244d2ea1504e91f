from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tenantjobs import (
    Current,
    Handle,
    Job,
    adapter,
    after_enqueue,
    current_job,
    discard_on,
    idempotent,
    job,
    perform_all_later,
    retry_on,
    testing,
    unique,
)
from tenantjobs.adapter import Capabilities, HasLocks
from tenantjobs.envelope import Envelope
from tenantjobs.errors import (
    ConfigurationError,
    DuplicateJob,
    Interruption,
    LeaseLost,
    PartlyEnqueued,
    SerializationError,
    UnknownJob,
    UnsupportedCapability,
)
from tenantjobs.execution import execute
from tenantjobs.locks import Lock, Locks
from tenantjobs.outcome import Finished, Quarantined, Retried
from tenantjobs.testing import enqueued_jobs, failed_jobs
from tenantjobs.testing.time import movable_clock

pytestmark = pytest.mark.usefixtures("memory", "acme")

performed: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    performed.clear()


@pytest.fixture
def locks() -> Locks:
    configured = adapter.configured()
    assert isinstance(configured, HasLocks)
    return configured.locks


def sending(until: Any = "until_executed", work: Callable[[int], object] = performed.append, **options: Any) -> Any:
    others = options.pop("policies", [])
    options.setdefault("key", lambda user, text="": user)

    @job(name="send", policies=[unique(until, **options), *others])
    def send(user: int, text: str = "") -> None:
        work(user)

    return send


def answers(*handles: Handle) -> list[bool | None]:
    return [handle.enqueued for handle in handles]


def taken() -> bytes:
    """The message of the only job that waits, which no longer waits then."""
    (data,) = adapter.configured()._waiting  # type: ignore[attr-defined]  # the memory adapter's own list
    adapter.configured()._waiting.clear()  # type: ignore[attr-defined]  # the same
    assert isinstance(data, bytes)
    return data


@pytest.mark.parity("1c.14", "1c.16")
@pytest.mark.parametrize("until", ["until_executing", "until_executed", "until_and_while_executing"])
def test_one_job_of_a_key_waits_and_another_is_let_in_when_that_is_done(until: str) -> None:
    send = sending(until)

    before = answers(send.perform_later(1, "a"), send.perform_later(1, "b"), send.perform_later(2))
    testing.drain()
    after = send.perform_later(1, "c")

    assert before == [True, False, True]
    assert performed == [1, 2]
    assert after.enqueued


@pytest.mark.parity("1c.15", "1c.16")
def test_a_duplicate_says_which_job_has_the_key() -> None:
    send = sending()
    first, second = send.perform_later(1), send.perform_later(1)

    assert isinstance(second.enqueue_error, DuplicateJob)
    assert first.job_id in str(second.enqueue_error)
    assert "acme" in str(second.enqueue_error)
    assert len(enqueued_jobs()) == 1


@pytest.mark.parity("1c.15")
def test_on_conflict_raise_raises_at_the_call() -> None:
    send = sending(on_conflict="raise")
    send.perform_later(1)

    with pytest.raises(DuplicateJob):
        send.perform_later(1)


@pytest.mark.parity("1c.15")
def test_on_conflict_replace_takes_the_one_that_waits_back() -> None:
    send = sending(on_conflict="replace")
    send.perform_later(1, "a")
    second = send.perform_later(1, "b")

    assert second.enqueued
    assert [waiting.args for waiting in enqueued_jobs()] == [(1, "b")]
    assert send.perform_later(1, "c").enqueued, "the second has the lock"


@pytest.mark.parity("1c.15")
def test_replace_takes_back_one_that_waits_for_its_time() -> None:
    send = sending(on_conflict="replace")
    send.set(wait=3600).perform_later(1, "a")
    send.perform_later(1, "b")

    assert [waiting.args for waiting in enqueued_jobs()] == [(1, "b")]


@pytest.mark.parity("1c.15")
def test_replace_never_replaces_one_that_is_running() -> None:
    handles = []
    send = sending(on_conflict="replace", work=lambda user: handles.append(send.perform_later(user)))
    send.perform_later(1)
    testing.drain()

    assert answers(*handles) == [False]


def test_a_duplicate_runs_no_hook_after_it_and_counts_as_not_enqueued() -> None:
    hooked: list[int] = []
    send = sending(policies=[after_enqueue(lambda user, text="": hooked.append(user))])
    send.perform_later(1)
    send.perform_later(1)

    assert hooked == [1]


@pytest.mark.parity("1c.16")
def test_tenants_have_keys_of_their_own() -> None:
    send = sending()
    mine = send.perform_later(1)
    with Current.switch("the other one", tenant_id="globex"):
        theirs = send.perform_later(1)

    assert answers(mine, theirs) == [True, True]


@pytest.mark.parity("1c.16")
def test_without_a_key_the_arguments_are_the_key() -> None:
    send = sending(key=None)

    assert answers(send.perform_later(1, "a"), send.perform_later(1, "b"), send.perform_later(1, "a")) == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("key", [None, lambda: "the same"])
@pytest.mark.parity("1c.16")
def test_two_jobs_never_share_a_key(key: Any) -> None:
    @job(policies=[unique("until_executed", key=key)])
    def first() -> None: ...

    @job(policies=[unique("until_executed", key=key)])
    def second() -> None: ...

    assert answers(first.perform_later(), second.perform_later()) == [True, True]


def test_a_unique_key_and_an_idempotency_key_of_one_text_are_apart() -> None:
    send = sending(policies=[idempotent(key=lambda user, text="": user)])
    send.perform_later(1)
    testing.drain()

    assert performed == [1]
    assert send.perform_later(1).enqueued


def test_a_class_and_its_subclasses_may_be_unique() -> None:
    @unique("until_executed", key=lambda job, user: f"{type(job).__name__}:{user}")
    class Base(Job):
        def perform(self, user: int) -> None: ...

    class Special(Base): ...

    assert answers(*(each.perform_later(1) for each in (Base, Base, Special))) == [True, False, True]


@pytest.mark.parity("1c.14")
def test_until_executing_lets_another_in_as_soon_as_it_starts() -> None:
    handles = []
    send = sending("until_executing", work=lambda user: handles.append(send.set(wait=60).perform_later(user)))
    send.perform_later(1)
    testing.drain()

    assert answers(*handles) == [True]


@pytest.mark.parity("1c.14")
def test_until_executed_keeps_others_out_while_it_runs() -> None:
    handles = []
    send = sending("until_executed", work=lambda user: handles.append(send.perform_later(user)))
    send.perform_later(1)
    testing.drain()

    assert answers(*handles) == [False]


def fail(user: int) -> None:
    performed.append(user)
    raise ConnectionError


@pytest.mark.parity("1c.14")
@pytest.mark.parametrize("until", ["until_executing", "until_executed", "until_and_while_executing"])
def test_a_job_that_waits_for_another_attempt_keeps_others_out(until: str) -> None:
    send = sending(until, work=fail, policies=[retry_on(ConnectionError, wait=2 * 86_400, attempts=2)])
    with movable_clock() as clock:
        send.perform_later(1)
        testing.drain()
        clock.move(timedelta(days=1, hours=23))  # longer than the ttl, which begins when it is due
        while_it_waits = send.perform_later(1)
        clock.move(timedelta(hours=10))  # there is jitter
        testing.drain()
        at_its_end = send.perform_later(1)

    assert performed == [1, 1]
    assert answers(while_it_waits, at_its_end) == [False, True]


def test_so_does_one_that_asked_for_another_attempt_itself() -> None:
    send = sending("until_executing", work=lambda _user: current_job().retry(wait=60))  # type: ignore[union-attr]  # it is one
    send.perform_later(1)
    testing.drain()

    assert send.perform_later(1).enqueued is False


@pytest.mark.parity("1c.14")
@pytest.mark.parametrize("policies", [[], [discard_on(ConnectionError)]], ids=["failed", "discarded"])
def test_however_it_ends_the_key_is_free(policies: list[Any]) -> None:
    send = sending(work=fail, policies=policies)
    send.perform_later(1)
    testing.drain()

    assert send.perform_later(1).enqueued


def test_one_that_is_quarantined_because_nobody_knows_it_frees_its_key(registry: dict[str, Any]) -> None:
    send = sending()
    send.perform_later(1)
    data = taken()
    known = registry.pop("send")

    outcome = execute(data)
    registry["send"] = known

    assert isinstance(outcome, Quarantined)
    assert isinstance(outcome.error, UnknownJob)
    assert send.perform_later(1).enqueued


def interrupt(_user: int) -> None:
    raise Interruption


@pytest.mark.parametrize("until", ["until_executing", "until_executed", "until_and_while_executing"])
def test_one_that_was_interrupted_waits_again_with_its_lock(until: str) -> None:
    send = sending(until, work=interrupt)
    send.perform_later(1)
    with suppress(Interruption):
        testing.drain()

    assert len(enqueued_jobs()) == 1
    assert send.perform_later(1).enqueued is False


def test_one_that_was_lost_to_another_worker_leaves_the_locks_to_that() -> None:
    def lose(_user: int) -> None:
        raise LeaseLost

    send = sending("until_executing", work=lose)
    send.perform_later(1)
    with suppress(LeaseLost):
        execute(taken())

    assert send.perform_later(1).enqueued, "it runs elsewhere, and does not wait again here"


class Taken:
    """A delivery whose job another worker may have by now, from the given question on."""

    def __init__(self, asked: int) -> None:
        self.left = asked

    def verify(self, envelope: Envelope) -> None: ...

    def lost(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("until", ["until_executed", "until_executing", "until_and_while_executing"])
@pytest.mark.parametrize("asked", [0, 1])
def test_one_that_was_lost_takes_no_lock_any_more(locks: Locks, until: str, asked: int) -> None:
    """Whoever has it now may have ended it, and does not come back for a lock that was taken after that."""

    def fail(_user: int) -> None:
        unlock()
        raise ConnectionError

    def unlock() -> None:
        locks.unlock([Lock("acme", f"wait:{key}", job_id, 1.0)])

    send = sending(until, work=fail, policies=[retry_on(ConnectionError)])
    send.perform_later(1)
    data = taken()
    key, job_id = (envelope := Envelope.decode(data)).keys["unique"], envelope.id
    if not asked:
        unlock()

    with suppress(LeaseLost):
        execute(data, Taken(asked))

    assert send.perform_later(1).enqueued


@pytest.mark.parity("1c.16")
def test_a_message_that_comes_again_runs_with_its_own_lock() -> None:
    send = sending("until_and_while_executing")
    send.perform_later(1)
    data = taken()

    assert (execute(data), execute(data)) == (Finished(), Finished())


@pytest.mark.parity("1c.14")
def test_two_do_not_run_at_the_same_time_and_the_second_comes_back_uncharged() -> None:
    outcomes = []

    def while_one_runs(user: int) -> None:
        if not outcomes:
            assert send.perform_later(user).enqueued, "the first one waits no more"
            outcomes.append(execute(taken()))
            outcomes.append(send.perform_later(user).enqueued)
        performed.append(user)

    send = sending("until_and_while_executing", work=while_one_runs)
    send.perform_later(1)
    execute(taken())

    came_back, third = outcomes
    assert isinstance(came_back, Retried)
    assert came_back.envelope.attempt == 0
    assert third is False, "what came back still keeps others out of the queue"
    assert execute(came_back.again().encode()) == Finished()
    assert performed == [1, 1]


@pytest.mark.parity("1c.16")
def test_a_lock_that_nobody_frees_ends_after_its_ttl() -> None:
    send = sending(ttl=timedelta(hours=1))
    with movable_clock() as clock:
        send.perform_later(1)
        taken()  # and lost
        clock.move(timedelta(minutes=59))
        early = send.perform_later(1)
        clock.move(timedelta(minutes=2))
        late = send.perform_later(1)

    assert answers(early, late) == [False, True]


@pytest.mark.parity("1c.16")
def test_the_ttl_is_counted_from_when_the_job_is_due() -> None:
    send = sending(ttl=60)
    with movable_clock() as clock:
        send.set(wait=timedelta(days=7)).perform_later(1)
        clock.move(timedelta(days=7))
        duplicate = send.perform_later(1)

    assert duplicate.enqueued is False


def test_the_ttl_begins_again_when_the_job_starts() -> None:
    handles = []
    send = sending(ttl=60, work=lambda user: handles.append(send.perform_later(user)))
    with movable_clock() as clock:
        send.perform_later(1)
        clock.move(61)
        testing.drain()

    assert answers(*handles) == [False]


def test_a_job_whose_key_another_one_has_by_now_runs_all_the_same() -> None:
    send = sending(ttl=60)
    with movable_clock() as clock:
        send.perform_later(1)
        clock.move(61)
        assert send.perform_later(1).enqueued
        testing.drain()

    assert performed == [1, 1]


@pytest.mark.parity("1c.14")
def test_cancelling_frees_the_key() -> None:
    send = sending()
    send.perform_later(1).cancel()

    assert send.perform_later(1).enqueued


def test_the_handle_of_a_duplicate_cancels_nothing() -> None:
    send = sending()
    send.perform_later(1)
    send.perform_later(1).cancel()

    assert send.perform_later(1).enqueued is False


def test_a_job_that_the_queue_does_not_take_frees_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    send = sending()
    with monkeypatch.context() as patch, suppress(ConnectionError):
        patch.setattr(adapter.configured(), "enqueue_all", fail)
        send.perform_later(1)

    assert send.perform_later(1).enqueued


@pytest.mark.parity("1c.15")
@pytest.mark.parametrize("on_conflict", ["discard", "raise"])
def test_of_many_each_has_an_outcome_of_its_own(
    on_conflict: str, monkeypatch: pytest.MonkeyPatch, locks: Locks
) -> None:
    calls = []
    lock = locks.lock
    monkeypatch.setattr(locks, "lock", lambda *args: calls.append(1) or lock(*args))
    send = sending(on_conflict=on_conflict)

    handles = perform_all_later([send.call(user) for user in (1, 2, 1, 3)])

    assert answers(*handles) == [True, True, False, True]
    assert isinstance(handles[2].enqueue_error, DuplicateJob)
    assert len(calls) == 1
    assert [waiting.args[0] for waiting in enqueued_jobs()] == [1, 2, 3]


def test_of_many_that_replace_each_other_the_last_one_stays() -> None:
    send = sending(on_conflict="replace")
    earlier = send.perform_later(1, "z")

    handles = perform_all_later([send.call(1, "a"), send.call(2, "b"), send.call(1, "c")])

    assert earlier.enqueued
    assert answers(*handles) == [False, True, True]
    assert [waiting.args for waiting in enqueued_jobs()] == [(2, "b"), (1, "c")]


def test_those_of_many_that_the_queue_does_not_take_free_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    send = sending()

    def only_the_first(envelopes: Any) -> None:
        raise PartlyEnqueued({envelope.id: ConnectionError() for envelope in envelopes[1:]})

    with monkeypatch.context() as patch, pytest.raises(PartlyEnqueued):
        patch.setattr(adapter.configured(), "enqueue_all", only_the_first)
        perform_all_later([send.call(user) for user in (1, 2)])

    assert answers(send.perform_later(1), send.perform_later(2)) == [False, True]


async def test_awaiting_it_does_the_same() -> None:
    send = sending(on_conflict="raise")
    first = await send.aperform_later(1)
    with pytest.raises(DuplicateJob):
        await send.aperform_later(1)

    assert first.enqueued


async def test_an_async_job_has_the_same_locks() -> None:
    handles = []

    @job(policies=[unique("until_executed", key=lambda: "one")])
    async def asend() -> None:
        handles.append(await asend.aperform_later())

    handles.append(await asend.aperform_later())
    execute_in_thread = threading.Thread(target=testing.drain)
    execute_in_thread.start()
    execute_in_thread.join()

    assert answers(*handles, asend.perform_later()) == [True, False, True]


def test_perform_now_does_not_ask_what_waits() -> None:
    send = sending()
    send.perform_later(1)
    send.perform_now(1)

    assert performed == [1]
    assert send.perform_later(1).enqueued is False


@pytest.mark.parity("1c.14")
def test_perform_now_does_not_run_beside_one_that_is_running() -> None:
    def inside(user: int) -> None:
        performed.append(user)
        if len(performed) == 1:
            send.perform_now(user + 1)
            with pytest.raises(DuplicateJob):
                send.perform_now(user)

    send = sending("until_and_while_executing", work=inside)
    send.perform_now(1)
    send.perform_now(1)

    assert performed == [1, 2, 1]


def test_a_perform_now_that_fails_frees_its_lock() -> None:
    send = sending("until_and_while_executing", work=fail)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            send.perform_now(1)

    assert performed == [1, 1]


def test_of_threads_that_enqueue_the_same_key_at_once_one_is_let_in() -> None:
    send = sending()
    start = threading.Barrier(8)
    handles: list[Handle] = []

    def enqueue() -> None:
        with Current.set(tenant_id="acme"):
            start.wait()
            handles.append(send.perform_later(1))

    threads = [threading.Thread(target=enqueue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(bool, answers(*handles))) == [False] * 7 + [True]


def test_a_lock_that_cannot_be_freed_does_not_change_what_came_of_the_job(
    locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = sending()
    send.perform_later(1)
    monkeypatch.setattr(locks, "unlock", fail)

    assert execute(taken()) == Finished()


def test_a_job_that_is_unique_no_more_frees_what_it_was_enqueued_with(locks: Locks, registry: dict[str, Any]) -> None:
    sending().perform_later(1)
    data = taken()
    del registry["send"]

    @job(name="send")
    def send(user: int, text: str = "") -> None: ...

    execute(data)

    assert locks.lock([Lock("acme", 'wait:["send","1"]', "another", 60)]) == {}


def test_one_that_was_enqueued_before_it_was_unique_is_performed(registry: dict[str, Any]) -> None:
    @job(name="send")
    def send(user: int, text: str = "") -> None: ...

    send.perform_later(1)
    del registry["send"]
    sending()
    testing.drain()

    assert performed == [1]


def test_a_queue_without_a_ledger_refuses_at_the_call() -> None:
    send = sending()
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match=r"send is @unique.*no ledger"):
        send.perform_later(1)


def test_replace_wants_a_queue_that_can_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(adapter.configured()), "capabilities", Capabilities())

    with pytest.raises(UnsupportedCapability, match="replace"):
        sending(on_conflict="replace").perform_later(1)
    assert enqueued_jobs() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "until_expired"}, "until="),
        ({"on_conflict": "reschedule"}, "on_conflict="),
        ({"key": "user"}, "key='user'"),
        ({"ttl": 0}, "ttl=0"),
        ({"ttl": True}, "ttl=True"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        unique(**({"until": "until_executed"} | options))


def test_twice_on_one_job_is_refused() -> None:
    send = sending(policies=[unique("until_executing")])

    with pytest.raises(ConfigurationError, match="@unique twice"):
        send.perform_later(1)


@pytest.mark.parametrize("key", [lambda _: None, lambda _: "", lambda _: 1 / 0])
@pytest.mark.parity("1c.16")
def test_a_key_that_is_none_is_refused_at_the_call(key: Any) -> None:
    @job(policies=[unique("until_executed", key=key)])
    def send(user: int) -> None: ...

    with pytest.raises(SerializationError, match="unique key"):
        send.perform_later(1)
    assert failed_jobs() == []

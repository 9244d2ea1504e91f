from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from tenantjobs import Current, Job, adapter, idempotent, job, once, testing, transaction
from tenantjobs.adapter import Capabilities, HasLedger
from tenantjobs.errors import ConfigurationError, DuplicateJob, LeaseLost, LedgerUnavailable, SerializationError
from tenantjobs.execution import execute
from tenantjobs.idempotency import Claim, Ledger
from tenantjobs.outcome import Failed, Finished, Retried
from tenantjobs.testing import enqueued_jobs

pytestmark = pytest.mark.usefixtures("memory", "acme")

charged: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    charged.clear()


@pytest.fixture
def ledger() -> Ledger:
    configured = adapter.configured()
    assert isinstance(configured, HasLedger)
    return configured.ledger


def charging(**options: Any) -> Any:
    @job(policies=[idempotent(key=lambda payment, amount=0: f"charge:{payment}", **options)])
    def charge(payment: int, amount: int = 0) -> str:
        charged.append((Current.tenant_id, payment))
        return "charged"

    return charge


def enqueued(target: Any, *args: Any) -> bytes:
    target.perform_later(*args)
    data: bytes = adapter.configured()._waiting.pop()  # type: ignore[attr-defined]  # the memory adapter's own list
    return data


def test_the_effect_happens_once_for_each_key() -> None:
    charge = charging()
    for payment in (7, 7, 8):
        charge.perform_later(payment)
    testing.drain()

    assert charged == [("acme", 7), ("acme", 8)]


def test_a_redelivery_of_a_finished_job_has_no_second_effect_and_says_so() -> None:
    data = enqueued(charging(), 7)

    assert execute(data) == Finished("charged")
    assert execute(data) == Finished(note="its key is done already")
    assert len(charged) == 1


def test_tenants_have_keys_of_their_own() -> None:
    charge = charging()
    charge.perform_later(7)
    with Current.switch("the other one", tenant_id="globex"):
        charge.perform_later(7)
    testing.drain()

    assert charged == [("acme", 7), ("globex", 7)]


def test_without_a_key_the_name_and_the_arguments_are_the_key() -> None:
    @job(policies=[idempotent()])
    def note(values: list[int]) -> None:
        charged.append(values)

    for values in ([1], [1], [2]):
        note.perform_later(values)
    testing.drain()

    assert charged == [[1], [2]]


def test_a_failure_frees_the_key() -> None:
    @job(policies=[idempotent(key=lambda: "once")])
    def fails() -> None:
        charged.append("try")
        raise ValueError

    for _ in range(2):
        assert isinstance(execute(enqueued(fails)), Failed)

    assert charged == ["try", "try"]


def test_a_key_is_forgotten_after_its_ttl() -> None:
    charge = charging(ttl=timedelta(microseconds=1))
    for _ in range(2):
        charge.perform_later(7)
        testing.drain()
        time.sleep(0.001)

    assert len(charged) == 2


def test_while_another_job_holds_the_key_this_one_comes_back_uncharged(ledger: Ledger) -> None:
    data = enqueued(charging(), 7)
    assert isinstance(ledger.acquire("acme", "charge:7", "another job", 60, None), Claim)

    outcome = execute(data)

    assert isinstance(outcome, Retried)
    assert outcome.envelope.attempt == 0
    assert charged == []


def test_on_running_skip_gives_up(ledger: Ledger) -> None:
    data = enqueued(charging(on_running="skip"), 7)
    ledger.acquire("acme", "charge:7", "another job", 60, None)

    assert execute(data) == Finished(note="another one is at work on its key")


def test_on_running_wait_goes_on_when_the_key_is_free(ledger: Ledger) -> None:
    data = enqueued(charging(on_running="wait"), 7)
    claim = ledger.acquire("acme", "charge:7", "another job", 60, None)
    assert isinstance(claim, Claim)
    threading.Timer(0.05, ledger.release, [claim]).start()

    assert execute(data) == Finished("charged")


def test_a_job_takes_its_own_running_key_over_from_its_dead_attempt(ledger: Ledger) -> None:
    data = enqueued(charging(), 7)
    (job_id,) = [enqueued_id(data)]
    dead = ledger.acquire("acme", "charge:7", job_id, 60, None)
    assert isinstance(dead, Claim)

    assert execute(data) == Finished("charged")
    with pytest.raises(LeaseLost):
        ledger.complete(dead, None)


def test_a_lease_that_ran_out_is_free_for_anybody(ledger: Ledger) -> None:
    ledger.acquire("acme", "charge:7", "a dead job", -1, None)

    assert execute(enqueued(charging(), 7)) == Finished("charged")


def test_perform_now_has_the_effect_once_too(ledger: Ledger) -> None:
    charge = charging()

    assert charge.perform_now(7) == "charged"
    assert charge.perform_now(7) is None
    assert len(charged) == 1


def test_perform_now_says_that_another_run_holds_the_key(ledger: Ledger) -> None:
    ledger.acquire("acme", "charge:7", "another job", 60, None)

    with pytest.raises(DuplicateJob, match="charge:7"):
        charging().perform_now(7)
    assert charging(on_running="skip").perform_now(7) is None


def test_a_job_class_has_its_object_first_in_the_key() -> None:
    class Charge(Job):
        prefix = "charge"

        def perform(self, payment: int) -> None:
            charged.append(payment)

    idempotent(key=lambda job, payment: f"{job.prefix}:{payment}")(Charge)
    Charge.perform_later(3)
    Charge.perform_later(3)
    testing.drain()

    assert charged == [3]


@pytest.mark.parametrize("key", [None, "", True, 1.5, object()])
def test_a_key_that_says_nothing_is_refused_at_the_call(key: Any) -> None:
    @job(policies=[idempotent(key=lambda: key)])
    def note() -> None: ...

    with pytest.raises(SerializationError, match="idempotency key must be"):
        note.perform_later()
    assert enqueued_jobs() == []


def test_a_key_that_cannot_be_computed_is_refused_at_the_call_and_says_why() -> None:
    @job(name="tests.unreadable_key", policies=[idempotent(key=lambda number: 1 // number)])
    def divide(number: int) -> None:
        charged.append(number)

    wanted = r"tests.unreadable_key: its idempotency key could not be computed .*: ZeroDivisionError: "
    with pytest.raises(SerializationError, match=wanted):
        divide.perform_later(0)
    with pytest.raises(SerializationError, match=wanted):
        divide.perform_now(0)
    assert (enqueued_jobs(), charged) == ([], [])


def test_a_queue_without_a_ledger_refuses_the_job_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        capabilities = Capabilities()

    charge = charging()
    monkeypatch.setattr(adapter, "configured", Elsewhere)
    with pytest.raises(ConfigurationError, match=r"charge is @idempotent, and the adapter Elsewhere has no ledger"):
        charge.perform_later(7)


def test_once_needs_a_ledger() -> None:
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match="no ledger"), once("k"):
        pass


def test_a_job_comes_back_uncharged_while_the_ledger_does_not_answer(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*_: object) -> None:
        raise LedgerUnavailable("it is away")

    data = enqueued(charging(), 7)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "acquire", acquire)
        outcome = execute(data)

    assert isinstance(outcome, Retried)
    assert (outcome.envelope.attempt, outcome.note, charged) == (0, "it is away", [])
    assert execute(data) == Finished("charged")


def test_an_adapter_without_a_ledger_says_so_rather_than_running_unguarded() -> None:
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match="no ledger"):
        charging().perform_later(7)

    assert charged == []


@pytest.mark.parametrize("duration", ["1h", -1, 0, float("inf"), True, timedelta(0)])
@pytest.mark.parametrize("option", ["ttl", "lease"])
def test_what_is_no_duration_is_refused_where_it_is_written(option: str, duration: Any) -> None:
    given: Any = {option: duration}
    with pytest.raises(ConfigurationError, match=rf"idempotent\({option}="):
        idempotent(**given)
    with pytest.raises(ConfigurationError, match=rf"once\({option}="):
        once("key", **given)


@pytest.mark.parametrize("options", [{"on_running": "explode"}, {"key": "charge"}])
def test_options_of_no_known_kind_are_refused_when_declared(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        idempotent(**options)


def enqueued_id(data: bytes) -> str:
    from tenantjobs.envelope import Envelope

    return Envelope.decode(data).id


def test_a_key_whose_ledger_does_not_join_is_done_only_after_the_work_has_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits = iter([ValueError("the commit failed"), None])

    class Session:
        def run(self, function: Any) -> Any:
            return function("a connection that the ledger does not know")

    class Work:
        @contextmanager
        def session(self, **_: object) -> Iterator[Session]:
            yield Session()
            error = next(commits)
            if error is not None:
                raise error

    monkeypatch.setattr(transaction, "_work", Work())
    data = enqueued(charging(), 7)

    assert isinstance(execute(data), Failed)
    assert execute(data) == Finished("charged")
    assert execute(data) == Finished(note="its key is done already")


def test_two_keys_for_one_effect_are_refused() -> None:
    @job(policies=[idempotent(key=lambda: "a"), idempotent(key=lambda: "b")])
    def note() -> None: ...

    with pytest.raises(ConfigurationError, match="@idempotent twice"):
        note.perform_later()


def test_the_key_of_a_subclass_goes_before_that_of_its_base() -> None:
    class Base(Job):
        def perform(self) -> None: ...

    class Special(Base): ...

    idempotent(key=lambda job: "base")(Base)
    idempotent(key=lambda job: "special")(Special)
    Special.perform_later()

    assert testing.drain() == 1
    assert adapter.configured().ledger.acquire("acme", "special", "another", 60, None) == "done"  # type: ignore[attr-defined]  # it has one

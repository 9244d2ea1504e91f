from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tenantjobs import Current, adapter, discard_on, job, perform, retry_on, testing
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, LeaseLost
from tenantjobs.execution import aexecute, execute
from tenantjobs.idempotency import Claim
from tenantjobs.message import Message
from tenantjobs.outcome import Discarded, Failed, Finished, Retried
from tenantjobs.testing.memory import MemoryAdapter

KEYS = ["2026-11:a new secret, in use"]

ran: list[object] = []


@job(name="replays.pay")
def pay(amount: int) -> int:
    ran.append((Current.tenant_id, amount))
    return amount


@job(name="replays.apay")
async def apay(amount: int) -> None:
    ran.append(amount)


@job(name="replays.given_up", policies=[discard_on(KeyError)])
def given_up() -> None:
    ran.append("given up")
    raise KeyError


@job(name="replays.flaky", policies=[retry_on(ConnectionError, wait=0, attempts=3)])
def flaky() -> None:
    ran.append("flaky")
    if len(ran) < 3:
        raise ConnectionError


@job(name="replays.failing")
def failing() -> None:
    ran.append("failing")
    if len(ran) < 2:
        raise ValueError


@pytest.fixture(autouse=True)
def signed_with_a_key() -> Iterator[None]:
    ran.clear()
    with testing.override(adapter="test", signing={"keys": KEYS}):
        yield


def message(call: Any, tenant: str = "acme") -> bytes:
    with Current.set(tenant_id=tenant):
        return Message(call, adapter.configured()).seal().encode()


def test_a_message_whose_job_has_finished_has_no_second_effect(caplog: pytest.LogCaptureFixture) -> None:
    data = message(pay.call(10))

    first, second = execute(data), execute(data)

    assert first == Finished(10)
    assert second == Finished(note="it was delivered again, and its effect is there already")
    assert ran == [("acme", 10)]
    assert "has ended before" in caplog.text


def test_the_door_of_native_workers_gives_nothing_for_it() -> None:
    data = message(pay.call(10))

    assert [perform(data), perform(data)] == [10, None]


async def test_neither_has_that_of_an_async_job() -> None:
    data = message(apay.call(10))

    await aexecute(data)
    await aexecute(data)

    assert ran == [10]


def test_a_message_whose_job_was_discarded_has_no_second_effect() -> None:
    data = message(given_up.call())

    assert isinstance(execute(data), Discarded)
    assert isinstance(execute(data), Finished)
    assert ran == ["given up"]


def test_a_retry_of_the_same_job_is_no_replay_and_its_messages_are_none_the_less_used_up() -> None:
    data = [message(flaky.call())]
    while isinstance(outcome := execute(data[-1]), Retried):
        data.append(outcome.again().encode())

    assert len(data) == 3
    assert [execute(each).note for each in data] == [  # type: ignore[union-attr]  # or this fails
        "it was delivered again, and its effect is there already"
    ] * 3
    assert ran == ["flaky"] * 3


def test_a_changed_attempt_or_due_time_does_not_make_it_another_message() -> None:
    data = message(pay.call(10))
    execute(data)

    execute(msgspec.structs.replace(Envelope.decode(data), attempt=0, queue="other", counters={"x": 1}).encode())

    assert len(ran) == 1


def test_a_failed_job_may_be_sent_again_by_whoever_decides_about_it() -> None:
    data = message(failing.call())

    assert isinstance(execute(data), Failed)
    assert isinstance(execute(data), Finished)
    assert ran == ["failing"] * 2


def test_a_message_that_is_delivered_again_before_its_job_has_ended_is_performed() -> None:
    data = message(pay.call(10))
    ledger: Any = adapter.configured().ledger  # type: ignore[attr-defined]  # the adapter `test` has one
    job_id = Envelope.decode(data).id
    assert isinstance(ledger.acquire("acme", f"replay:{job_id}", job_id, 900.0, None), Claim)  # by a worker that died

    execute(data)
    execute(data)

    assert ran == [("acme", 10)]


def test_the_id_is_noted_for_its_tenant() -> None:
    execute(message(pay.call(10), "acme"))
    execute(message(pay.call(10), "globex"))

    assert ran == [("acme", 10), ("globex", 10)]


def test_an_id_that_cannot_be_noted_in_the_end_fails_no_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def complete(*_: object) -> None:
        raise LeaseLost("another one has it")

    monkeypatch.setattr(adapter.configured().ledger, "complete", complete)  # type: ignore[attr-defined]

    assert execute(message(pay.call(10))) == Finished(10)
    assert "is not noted as ended" in caplog.text


def test_a_ledger_that_does_not_answer_is_an_error_of_the_job_and_its_effect_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def acquire(*_: object) -> None:
        raise ConnectionError("no ledger today")

    monkeypatch.setattr(adapter.configured().ledger, "acquire", acquire)  # type: ignore[attr-defined]

    assert isinstance(execute(message(pay.call(10))), Failed)
    assert ran == []


@pytest.mark.parametrize("changes", [{"mode": "observe"}, {"mode": "off"}, {"remember": 0}])
def test_elsewhere_nothing_is_remembered(changes: dict[str, Any]) -> None:
    with testing.override(signing=changes):
        data = message(pay.call(10))
        execute(data)
        execute(data)

    assert len(ran) == 2


def test_without_a_ledger_nothing_is_promised() -> None:
    data = message(pay.call(10))
    with testing.override(adapter="inline"):
        execute(data)
        execute(data)

    assert len(ran) == 2


def test_ids_are_kept_for_as_long_as_is_configured() -> None:
    found: list[Any] = []

    class Ledger:
        def acquire(self, *wish: object) -> Claim:
            found.append(wish)
            return Claim("acme", "k", "t")

        def complete(self, *_: object) -> None: ...

    target = adapter.configured()
    assert isinstance(target, MemoryAdapter)
    target.ledger = Ledger()  # type: ignore[assignment]
    data = message(pay.call(10))
    execute(data)
    with testing.override(signing={"remember": 60}):
        execute(data)

    assert [wish[4] for wish in found] == [30 * 86_400, 60]


def test_a_negative_time_is_refused() -> None:
    with testing.override(signing={"remember": -1}), pytest.raises(ConfigurationError, match="remember"):
        message(pay.call(10))


def test_the_signature_of_a_replay_is_looked_at_first(caplog: pytest.LogCaptureFixture) -> None:
    data = message(pay.call(10))
    execute(data)
    with caplog.at_level(logging.ERROR):
        execute(data.replace(b"acme", b"evil"))

    assert "quarantined" in caplog.text

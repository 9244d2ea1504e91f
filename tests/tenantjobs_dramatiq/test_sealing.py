"""Messages of Dramatiq with keys in [signing]: what is accepted, and what stops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import StubBackend as Barriers
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

import tenantjobs_dramatiq
from tenantjobs import testing
from tenantjobs.current import Current

Change = Callable[[dict[str, Any]], object]
KEYS = ["2026-11:a new secret, in use"]


@pytest.fixture(autouse=True)
def signed_with_a_key() -> Iterator[None]:
    with testing.override(signing={"keys": KEYS}):
        yield


class Shop:
    """One broker whose worker runs when it is told to, and what the actors saw."""

    def __init__(self, tenancy: Any = "required") -> None:
        self.broker = StubBroker()
        for extra in (GroupCallbacks(Barriers()), Results(backend=StubBackend(), store_results=True)):
            self.broker.add_middleware(extra)
        tenantjobs_dramatiq.install(self.broker, tenancy)
        dramatiq.set_broker(self.broker)
        self.seen: list[tuple[str, str | None]] = []

    def actor(self, function: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(function, broker=self.broker, **{"max_retries": 0, **options})

    def noting(self, name: str, **options: Any) -> Any:
        def note(*_: object, **__: object) -> str | None:
            self.seen.append((name, Current.tenant_id))
            return Current.tenant_id

        return self.actor(note, actor_name=name, **options)

    def work(self) -> None:
        worker = dramatiq.Worker(self.broker, worker_timeout=20, worker_threads=1)
        worker.start()
        self.broker.join("default", timeout=10_000, fail_fast=False)
        worker.join()
        worker.stop()

    def change(self, *changes: Change, queue: str = "default") -> None:
        """Put back the message that waits, changed by each of the changes in turn."""
        waiting = self.broker.queues[queue]
        data = waiting.get_nowait()
        waiting.task_done()
        for change in changes:
            fields = json.loads(data)
            change(fields)
            waiting.put(json.dumps(fields).encode())

    def dead(self) -> list[str]:
        return [message.actor_name for message in self.broker.dead_letters]


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.broker.close()


def acme() -> Any:
    return Current.set(tenant_id="acme")


# what is accepted


def test_a_message_that_we_have_sent_is_sealed_and_runs(shop: Shop) -> None:
    note = shop.noting("note")
    with acme():
        sent = note.send(1, two=(2, {3: "x"}))
    shop.work()

    assert sent.options["tenantjobs"].startswith('{"v":1,"tenant_id":"acme","sig":"2026-11:')
    assert [("note", "acme")] == shop.seen


def test_a_retry_and_a_delay_keep_their_seal(shop: Shop) -> None:
    def flaky() -> None:
        shop.seen.append(("flaky", Current.tenant_id))
        if len(shop.seen) < 3:
            raise ValueError("no")

    actor = shop.actor(flaky, max_retries=5, min_backoff=1, max_backoff=1)
    with acme():
        actor.send_with_options(delay=5)
    shop.work()

    assert [("flaky", "acme")] * 3 == shop.seen


def test_what_follows_a_message_is_sealed_where_it_is_sent(shop: Shop) -> None:
    note, done, told = shop.noting("note"), shop.noting("done"), shop.noting("told")
    with acme():
        of_acme = tenantjobs_dramatiq.options()
        (note.message() | done.message() | note.message()).run()
        group = dramatiq.group([note.message(), note.message()])
        group.add_completion_callback(done.message())
        group.run()
        note.send_with_options(on_success=told.actor_name)
    with Current.set(tenant_id="globex"):
        (note.message() | done.message_with_options(**of_acme)).run()
    shop.work()

    assert sorted([("note", "acme")] * 5 + [("done", "acme")] * 3 + [("told", "acme"), ("note", "globex")]) == sorted(
        shop.seen, key=str
    )


def test_a_message_that_is_sent_once_more_gets_another_seal(shop: Shop) -> None:
    note = shop.noting("note")
    message = note.message()
    with acme():
        sent = shop.broker.enqueue(message)
    with Current.set(tenant_id="globex"):
        shop.broker.enqueue(message)
        shop.broker.enqueue(sent)
    shop.work()

    assert [("note", "acme"), ("note", "globex"), ("note", "globex")] == sorted(shop.seen, key=str)


def test_the_options_of_a_scheduler_are_sealed_when_they_are_sent(shop: Shop) -> None:
    note = shop.noting("note")
    with acme():
        scheduled = note.message_with_options(**tenantjobs_dramatiq.options())
    shop.broker.enqueue(scheduled)
    shop.broker.enqueue(scheduled)
    shop.work()

    assert "sig" not in scheduled.options["tenantjobs"]
    assert [("note", "acme")] * 2 == shop.seen


def test_messages_as_pickles_are_sealed_too(shop: Shop) -> None:
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(dramatiq.PickleEncoder())
    try:
        note = shop.noting("note")
        with acme():
            note.send({(1, 2): "as no JSON has it"})
            (note.message() | note.message_with_options(**tenantjobs_dramatiq.options())).run()
        shop.work()
    finally:
        dramatiq.set_encoder(before)

    assert [("note", "acme")] * 3 == shop.seen


def test_a_message_without_a_scope_has_a_seal_as_well() -> None:
    shop = Shop("optional")
    shop.noting("note").send()
    shop.change(lambda fields: fields, lambda fields: fields["options"].clear())
    shop.work()

    assert [("note", None)] == shop.seen
    assert ["note"] == shop.dead()


# what is not


CHANGES: list[Change] = [
    lambda fields: fields["options"].update(tenantjobs=fields["options"]["tenantjobs"].replace("acme", "globex")),
    lambda fields: fields["options"].update(tenantjobs='{"v":1,"tenant_id":"globex"}'),
    lambda fields: fields["options"].update(tenantjobs={"v": 1, "tenant_id": "globex"}),
    lambda fields: fields["options"].clear(),
    lambda fields: fields.update(args=[1_000_000]),
    lambda fields: fields.update(kwargs={"to": "me"}),
    lambda fields: fields.update(actor_name="other"),
    lambda fields: fields.update(message_id="other"),
    lambda fields: fields.update(message_id=7),
    lambda fields: fields["options"].update(on_success="other"),
    lambda fields: fields["options"].update(pipe_target={"actor_name": "other"}),
]


@pytest.mark.parametrize(
    ("change", "tenancy"),
    [*((change, "observe") for change in CHANGES), (CHANGES[3], "optional"), (CHANGES[0], "required")],
)
def test_what_was_forged_or_changed_goes_to_the_dead_letters(
    change: Change, tenancy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(tenancy)
    shop.noting("other")
    note = shop.noting("note", max_retries=5)
    with acme():
        note.send(1)
    shop.change(change)
    shop.work()

    assert [] == shop.seen
    assert len(shop.dead()) == 1
    assert "is not signed" in caplog.text or "changed on its way" in caplog.text


def test_the_header_of_another_message_does_not_fit(shop: Shop) -> None:
    note = shop.noting("note")
    with Current.set(tenant_id="globex"):
        of_globex = note.message_with_options(args=())
        header = shop.broker.enqueue(of_globex).options["tenantjobs"]
    shop.broker.queues["default"].get_nowait()
    shop.broker.queues["default"].task_done()
    with acme():
        note.send()
    shop.change(lambda fields: fields["options"].update(tenantjobs=header))
    shop.work()

    assert [] == shop.seen
    assert ["note"] == shop.dead()


def test_nothing_follows_a_message_that_was_forged(shop: Shop) -> None:
    note, other = shop.noting("note"), shop.noting("other")
    with acme():
        note.send(1)
    follower = other.message().asdict()
    shop.change(
        lambda fields: fields["options"].update(
            on_failure="other", on_success="other", on_retry_exhausted="other", pipe_target=follower
        )
    )
    shop.work()

    assert [] == shop.seen
    assert ["note"] == shop.dead()


@pytest.mark.parametrize("header", [None, '{"v":1,"tenant_id":"acme"}'])
def test_a_worker_does_not_seal_what_it_sends_on_when_a_delay_is_over(header: str | None) -> None:
    shop = Shop("optional")
    note = shop.noting("note")
    with acme():
        note.send_with_options(delay=5)
    shop.change(
        lambda fields: (
            fields["options"].pop("tenantjobs") if header is None else fields["options"].update(tenantjobs=header)
        ),
        queue="default.DQ",
    )
    shop.work()

    assert [] == shop.seen
    assert ["note"] == shop.dead()


def test_while_it_is_observed_what_is_not_signed_runs_and_is_told(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    note = shop.noting("note")
    with acme():
        (note.message() | note.message_with_options(**tenantjobs_dramatiq.options())).run()
    with testing.override(signing={"mode": "observe"}):
        shop.change(CHANGES[1])
        shop.work()

    assert [("note", "globex"), ("note", "acme")] == shop.seen
    assert caplog.text.count("mode is 'observe'") == 1

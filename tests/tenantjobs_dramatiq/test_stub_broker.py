"""Every way of a message of Dramatiq through a StubBroker: the tenant inside, and nothing left behind."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, GroupCallbacks, Middleware, MiddlewareError, SkipMessage
from dramatiq.rate_limits.backends import StubBackend as Barriers
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

import tenantjobs_dramatiq
from tenantjobs import runtime
from tenantjobs.carriage import Tenancy
from tenantjobs.current import Current


class Shop:
    """One broker with one worker thread, and what its actors saw."""

    def __init__(self, install: bool = True, tenancy: Tenancy = "required") -> None:
        self.broker = StubBroker()
        for extra in (GroupCallbacks(Barriers()), Results(backend=StubBackend(), store_results=True), AsyncIO()):
            self.broker.add_middleware(extra)
        if install:
            tenantjobs_dramatiq.install(self.broker, tenancy)
        dramatiq.set_broker(self.broker)  # where pipelines and groups go
        self.seen: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.worker = dramatiq.Worker(self.broker, worker_timeout=20, worker_threads=1)
        self.worker.start()

    def actor(self, function: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(function, broker=self.broker, **{"max_retries": 0, **options})

    def noting(self, name: str, **options: Any) -> Any:
        def note(*args: object) -> str | None:
            self.seen.put((name, Current.tenant_id))
            return Current.tenant_id

        return self.actor(note, actor_name=name, **options)

    def next(self) -> tuple[str, str | None]:
        return self.seen.get(timeout=10)

    def settle(self) -> None:
        self.broker.join("default", timeout=10_000)
        self.worker.join()


@pytest.fixture
def make() -> Iterator[Callable[[Tenancy], Shop]]:
    made = []

    def make(tenancy: Tenancy) -> Shop:
        made.append(Shop(tenancy=tenancy))
        return made[-1]

    yield make
    for each in made:
        each.worker.stop()
        each.broker.close()


@pytest.fixture
def shop(make: Callable[[Tenancy], Shop]) -> Shop:
    return make("required")


def acme() -> Any:
    return Current.set(tenant_id="acme")


def globex() -> Any:
    return Current.set(tenant_id="globex")


def test_send(shop: Shop) -> None:
    note = shop.noting("note")
    with acme():
        note.send()
    assert shop.next() == ("note", "acme")


def test_send_with_options(shop: Shop) -> None:
    note = shop.noting("note")
    with acme():
        note.send_with_options(args=(1,))
    assert shop.next() == ("note", "acme")


def test_delay(shop: Shop) -> None:
    note = shop.noting("note")
    with acme():
        note.send_with_options(delay=30)
    assert shop.next() == ("note", "acme")


@pytest.mark.parametrize("error", [ValueError("no"), dramatiq.errors.Retry("later", delay=1)])
def test_retries(shop: Shop, error: Exception) -> None:
    def flaky() -> None:
        shop.seen.put(("flaky", Current.tenant_id))
        if shop.seen.qsize() < 3:
            raise error

    actor = shop.actor(flaky, max_retries=5, min_backoff=1, max_backoff=1)
    with acme():
        actor.send()
    shop.settle()
    assert [shop.next() for _ in range(3)] == [("flaky", "acme")] * 3


def test_pipeline(shop: Shop) -> None:
    first, second = shop.noting("first"), shop.noting("second")
    with acme():
        pipe = first.message() | second.message() | first.message()
        pipe.run()
        assert pipe.get_result(block=True) == "acme"
    assert [shop.next() for _ in range(3)] == [("first", "acme"), ("second", "acme"), ("first", "acme")]


def test_group_and_its_completion_callback(shop: Shop) -> None:
    note, done = shop.noting("note"), shop.noting("done")
    with acme():
        group = dramatiq.group([note.message(), note.message()])
        group.add_completion_callback(done.message())
        group.run()
    assert [shop.next() for _ in range(3)] == [("note", "acme"), ("note", "acme"), ("done", "acme")]


def test_on_success_and_on_failure(shop: Shop) -> None:
    shop.noting("succeeded")
    shop.noting("failed")

    def fail() -> None:
        raise ValueError("no")

    note, failing = shop.noting("note"), shop.actor(fail)
    with acme():
        note.send_with_options(on_success="succeeded")
        failing.send_with_options(on_failure="failed")
    assert sorted(shop.next() for _ in range(3)) == [("failed", "acme"), ("note", "acme"), ("succeeded", "acme")]


@pytest.mark.skipif(
    "on_retry_exhausted" not in dramatiq.middleware.Retries().actor_options, reason="newer than this Dramatiq"
)
def test_on_retry_exhausted(shop: Shop) -> None:
    shop.noting("exhausted")

    def fail() -> None:
        raise ValueError("no")

    failing = shop.actor(fail, on_retry_exhausted="exhausted")
    with acme():
        failing.send()
    assert shop.next() == ("exhausted", "acme")


def test_async_actors_on_one_loop(shop: Shop) -> None:
    note = shop.noting("child")

    async def parent() -> None:
        await asyncio.sleep(0)
        shop.seen.put(("parent", await asyncio.to_thread(lambda: Current.tenant_id)))
        note.send()

    actor = shop.actor(parent)
    with acme():
        actor.send()
    with globex():
        actor.send()
    found = sorted((shop.next() for _ in range(4)), key=str)
    assert found == [("child", "acme"), ("child", "globex"), ("parent", "acme"), ("parent", "globex")]


def test_one_message_of_two_tenants(shop: Shop) -> None:
    note = shop.noting("note")
    message = note.message()
    with acme():
        sent = shop.broker.enqueue(message)
    assert message.options == {}
    with globex():
        shop.broker.enqueue(message)
        shop.broker.enqueue(sent)
    assert sorted(shop.next() for _ in range(3)) == [("note", "acme"), ("note", "globex"), ("note", "globex")]


def test_one_pipeline_of_two_tenants(shop: Shop) -> None:
    note = shop.noting("note")
    pipe = note.message() | note.message()
    for scope in (acme(), globex()):
        with scope:
            pipe.run()
    shop.settle()
    assert sorted(str(shop.next()[1]) for _ in range(4)) == ["acme", "acme", "globex", "globex"]


def test_options_give_a_scope_to_a_sender_without_one(shop: Shop) -> None:
    note = shop.noting("note")
    with acme():
        scheduled = note.message_with_options(args=(), **tenantjobs_dramatiq.options())
    shop.broker.enqueue(scheduled)
    assert shop.next() == ("note", "acme")


def test_a_message_of_no_scope_is_what_it_was(shop: Shop) -> None:
    message = shop.noting("note").message()
    assert shop.broker.enqueue(message) is message


class Broken(Middleware):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.actor_name == "ending":
            raise self.error


@pytest.mark.tenantjobs_leaks
@pytest.mark.parametrize(
    "ending",
    [None, ValueError("no"), SystemExit(1), SkipMessage("no"), MiddlewareError("no"), "time limit", "set"],
)
def test_nothing_is_left_to_the_next_message(shop: Shop, ending: Any) -> None:
    if isinstance(ending, MiddlewareError):
        shop.broker.add_middleware(Broken(ending))

    def end() -> None:
        if ending == "time limit":
            raise dramatiq.middleware.TimeLimitExceeded
        elif ending == "set":
            Current.set(tenant_id="acme").__enter__()
        elif ending is not None:
            raise ending

    actor = shop.actor(end, actor_name="ending")
    probed: queue.Queue[str] = queue.Queue()

    class Probe(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            probed.put(Current.scope)

    shop.broker.middleware.insert(0, Probe())
    with acme():
        actor.send()
    actor.send()
    assert [probed.get(timeout=10) for _ in range(2)] == ["unset", "unset"]


BAD = [None, "acme", {"v": 99, "tenant_id": "acme"}, {"v": 1, "nonsense": 1}, {"v": 1, "error": "no"}]


@pytest.mark.parametrize("header", BAD)
def test_a_tenant_that_is_missing_or_unreadable_stops_the_actor(shop: Shop, header: object) -> None:
    note = shop.noting("note", max_retries=5)
    message = note.send_with_options(**({} if header is None else {"tenantjobs": header}))
    with pytest.raises(dramatiq.results.ResultFailure, match="TenantRefused"):
        message.get_result(backend=shop.broker.get_results_backend(), block=True)
    assert shop.seen.empty()
    assert [each.message_id for each in shop.broker.dead_letters] == [message.message_id]


def test_where_a_tenant_is_optional_what_comes_without_runs_and_what_cannot_be_read_fails(make: Any) -> None:
    shop = make("optional")
    note = shop.noting("note")
    note.send()
    with acme():
        note.send()
    note.send()
    unreadable = note.send_with_options(tenantjobs="odd")
    with pytest.raises(dramatiq.results.ResultFailure, match="TenantRefused"):
        unreadable.get_result(backend=shop.broker.get_results_backend(), block=True)
    assert sorted(str(shop.next()[1]) for _ in range(3)) == ["None", "None", "acme"]
    assert shop.seen.empty()


def test_where_tenants_are_observed_everything_runs_with_a_warning(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop = make("observe")
    note = shop.noting("note")
    sent = [note.send(), note.send_with_options(tenantjobs="odd")]
    with runtime.override(tenant_locator=lambda _: None):
        with acme():
            sent.append(note.send())
        shop.settle()
    assert sorted(str(shop.next()[1]) for _ in range(3)) == ["None", "None", "acme"]
    warnings = sorted(each.getMessage() for each in caplog.records if each.name == "tenantjobs.carriage")
    names = sorted(f"actor note[{each.message_id}]" for each in sent)
    assert [told.startswith(name) for name, told in zip(names, warnings, strict=True)] == [True] * 3


def test_the_hook_that_comes_to_mind_first_loses_the_tenant() -> None:
    class Naive(Middleware):
        """Last in the list, and what it raises is no MiddlewareError."""

        def before_process_message(self, broker: Any, message: Any) -> None:
            raise ValueError("no tenant")

    shop = Shop(install=False)
    shop.broker.add_middleware(Naive())
    try:
        shop.noting("note").send()
        assert shop.next() == ("note", None)  # it ran unscoped
    finally:
        shop.worker.stop()

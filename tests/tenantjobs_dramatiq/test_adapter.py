from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from dramatiq import Message, Worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import current_millis
from dramatiq.middleware import AgeLimit, Retries, ShutdownNotifications, TimeLimit
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

import tenantjobs_dramatiq
from tenantjobs import adapter, perform_all_later, strides, testing
from tenantjobs.adapter import WorkOptions
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tenantjobs_db import DatabaseAdapter, schema
from tenantjobs_dramatiq import DramatiqAdapter
from tenantjobs_dramatiq.performing import NAME
from tests.services import AMQP, REDIS, require
from tests.tenantjobs_dramatiq import app, servers
from tests.tenantjobs_dramatiq.servers import new_name

APP = "tests.tenantjobs_dramatiq.app"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Puts a broker in place of the application's, and configures it."""
    opened: list[Any] = []

    def put(broker: Any, **settings: Any) -> Any:
        monkeypatch.setattr(app, "broker", broker)
        monkeypatch.setattr(app, "SEEN", [])
        override = testing.override(adapter="dramatiq", app=APP, dramatiq={"broker": f"{APP}:broker", **settings})
        override.__enter__()
        opened.append((override, broker))
        return broker

    yield put
    for override, broker in reversed(opened):
        override.__exit__(None, None, None)
        broker.close()


@pytest.fixture
def stub(use: Any) -> Any:
    return use(StubBroker())


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")


@contextmanager
def working(broker: StubBroker) -> Iterator[Worker]:
    worker = Worker(broker, worker_timeout=20, worker_threads=1)
    broker.emit_after("process_boot")
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def work(broker: StubBroker, queue: str = "tenantjobs.default") -> None:
    """Whatever waits in the queue, and whatever that sends."""
    with working(broker) as worker:
        broker.join(queue, timeout=10_000, fail_fast=False)
        worker.join()


def waiting(broker: Any, queue: str = "tenantjobs.default") -> list[Message[Any]]:
    return [Message.decode(data) for data in list(broker.queues[queue].queue)]


# how a job travels


def test_a_job_is_a_message_of_one_actor_under_its_id(stub: StubBroker, acme: Any) -> None:
    with acme:
        handle = app.noted.perform_later()

    (message,) = waiting(stub)
    assert (message.actor_name, message.message_id) == ("tenantjobs.perform", handle.job_id)
    assert message.options == {}
    assert '"tenant_id":"acme"' in message.args[0]


def test_a_job_is_performed_in_the_scope_of_the_call(stub: StubBroker, acme: Any) -> None:
    with acme:
        app.noted.perform_later()
    work(stub)

    assert app.SEEN == ["acme"]
    assert stub.dead_letters == []


def test_retries_are_ours(stub: StubBroker, acme: Any) -> None:
    with acme:
        app.retried.perform_later()
    work(stub)

    assert app.SEEN == ["acme 1", "acme 2", "acme 3"]
    assert stub.dead_letters == []


def test_a_message_that_is_replayed_has_no_second_effect(stub: StubBroker, acme: Any, tmp_path: Path) -> None:
    keys = {"keys": ["2026-11:a new secret, in use"]}
    with testing.override(signing=keys, db={"url": f"sqlite:///{tmp_path / 'ledger.db'}"}):
        keeper = adapter.built("db")
        assert isinstance(keeper, DatabaseAdapter)
        schema.upgrade(keeper.database.engine)
        with acme:
            app.retried.perform_later()
        (first,) = waiting(stub)
        work(stub)
        stub.enqueue(first)
        work(stub)

    assert app.SEEN == ["acme 1", "acme 2", "acme 3"]
    assert stub.dead_letters == []


def test_a_delay_longer_than_brokers_like_is_walked_in_strides(
    stub: StubBroker, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acme:
        app.noted.set(wait=timedelta(hours=1)).perform_later()
    (message,) = waiting(stub, "tenantjobs.default.DQ")
    assert 0 < message.options["eta"] - current_millis() <= strides.LONGEST.total_seconds() * 1000 + 1
    stub.flush_all()

    monkeypatch.setattr(strides, "LONGEST", timedelta(milliseconds=50))
    began = time.monotonic()
    with Current.set(tenant_id="acme"):
        app.noted.set(wait=0.5).perform_later()
    work(stub)

    assert app.SEEN == ["acme"]
    assert time.monotonic() - began >= 0.5


def test_many_jobs_are_one_round_trip_to_redis(use: Any, acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    require("Redis")
    name = new_name()
    broker = use(RedisBroker(url=REDIS, namespace=name))
    trips: list[str] = []
    for cls, command in ((redis.client.Pipeline, "execute"), (redis.Redis, "evalsha")):
        monkeypatch.setattr(cls, command, counting(getattr(cls, command), trips))
    with acme:
        app.noted.perform_later()
        trips.clear()
        handles = perform_all_later([*(app.noted.call() for _ in range(20)), app.noted.set(wait=3600).call()])
    ready, delayed = (broker.client.llen(f"{name}:tenantjobs.default{end}") for end in ("", ".DQ"))
    servers.remove(name)

    assert trips == ["Pipeline"]
    assert (ready, delayed) == (21, 1)
    assert all(handle.enqueued for handle in handles)


def counting(original: Any, trips: list[str]) -> Any:
    """A method of a Redis client that says who called it; what goes into a pipeline is no trip."""

    def call(self: Any, *args: Any) -> Any:
        if not args or not isinstance(self, redis.client.Pipeline):
            trips.append(type(self).__name__)
        return original(self, *args)

    return call


# what the broker's own middleware makes of it


def test_middleware_for_other_actors_neither_retries_nor_drops_nor_interrupts_nor_stores_a_job(
    use: Any, acme: Any
) -> None:
    results = StubBackend()
    broker = use(
        StubBroker(
            middleware=[
                AgeLimit(max_age=1),
                TimeLimit(time_limit=1, interval=10),
                ShutdownNotifications(notify_shutdown=True),
                Retries(max_retries=20, min_backoff=1, retry_when=lambda *_: True),
                Results(backend=results, store_results=True),
            ]
        )
    )
    with acme:
        app.sleeping.perform_later(0.2)
        app.failing.perform_later()
    time.sleep(0.01)
    with working(broker) as worker:
        while "started" not in app.SEEN:
            time.sleep(0.005)
        broker.emit_before("worker_shutdown", worker)
        broker.join("tenantjobs.default", timeout=10_000, fail_fast=False)

    assert sorted(app.SEEN) == ["acme", "ended", "started"]
    assert len(broker.dead_letters) == 1
    assert results.results == {}


def test_a_failed_job_is_a_dead_letter_also_without_retries(use: Any, acme: Any) -> None:
    broker = use(StubBroker(middleware=[]))
    with acme:
        handle = app.failing.perform_later()
    work(broker)

    assert [each.message_id for each in broker.dead_letters] == [handle.job_id]
    assert app.SEEN == ["acme"]


def test_carriage_on_the_same_broker_lets_jobs_be(use: Any, acme: Any) -> None:
    broker = StubBroker()
    tenantjobs_dramatiq.install(broker, after_commit=True)
    use(broker)
    with acme:
        app.noted.perform_later()
    app.anonymous.perform_later()
    assert [message.options for message in waiting(broker)] == [{}, {}]
    work(broker)

    assert sorted(app.SEEN) == ["-", "acme"]


def test_the_timeout_of_a_job_is_kept(stub: StubBroker, acme: Any) -> None:
    with acme:
        app.hasty.perform_later()
    work(stub)

    assert app.SEEN == ["started", "out of time"]
    assert stub.dead_letters == []


# what cannot be done


def test_a_priority_is_refused_where_queues_have_none(stub: StubBroker, acme: Any) -> None:
    with acme, pytest.raises(UnsupportedCapability, match="cannot do priority"):
        app.noted.set(priority=5).perform_later()

    assert waiting(stub) == []


@pytest.mark.parametrize(("highest", "declared"), [(None, False), (8, False), (9, True), (255, True)])
def test_rabbitmq_has_priorities_if_its_queues_are_declared_with_ten(use: Any, highest: Any, declared: bool) -> None:
    use(RabbitmqBroker(max_priority=highest))

    assert adapter.configured().capabilities.priority is declared


@pytest.mark.parametrize("name", ["two words", "dead.XQ", "later.DQ", "x" * 250, "straße"])
def test_a_queue_that_dramatiq_cannot_name_is_refused_and_nothing_is_sent(
    stub: StubBroker, acme: Any, name: str
) -> None:
    adapter.configured()
    with acme, pytest.raises(UnsupportedCapability, match="has no queue called"):
        perform_all_later([app.noted.call(), app.noted.set(queue=name).call()])

    assert waiting(stub) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"broker": "tests.nowhere:broker"}, "cannot be imported"),
        ({"broker": f"{APP}:borker"}, f"did you mean {APP}:broker"),
        ({"broker": APP}, "'module:name' is wanted"),
        ({"broker": f"{APP}:SEEN"}, "is no broker"),
        ({}, "broker"),
        ({"broker": f"{APP}:broker", "prefix": "two words"}, "prefix"),
        ({"broker": f"{APP}:broker", "url": "redis://"}, "url"),
    ],
)
def test_settings_that_do_not_do_are_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem), testing.override(adapter="dramatiq", dramatiq=settings):
        adapter.configured().capabilities.priority


@pytest.mark.parametrize(
    "broker", [RedisBroker(url="redis://127.0.0.1:1"), RabbitmqBroker(url="amqp://127.0.0.1:1/?connection_attempts=1")]
)
def test_check_says_that_a_broker_does_not_answer(use: Any, broker: Any) -> None:
    use(broker)
    (problem,) = configured().check()

    assert "does not answer" in problem
    with pytest.raises(ConfigurationError, match="does not answer"):
        configured().work(WorkOptions())


@pytest.mark.services
@pytest.mark.parametrize("kind", ["RabbitMQ", "Redis"])
def test_check_is_content_with_a_broker_that_does(use: Any, kind: str) -> None:
    require(kind)
    use(RedisBroker(url=REDIS) if kind == "Redis" else RabbitmqBroker(url=AMQP))

    assert configured().check() == []


def test_draining_is_refused(stub: StubBroker) -> None:
    with pytest.raises(ConfigurationError, match="--drain"):
        configured().work(WorkOptions(drain=True))
    with pytest.raises(ConfigurationError, match="cannot be drained"):
        testing.drain()


def test_the_actor_is_declared_once(stub: StubBroker) -> None:
    configured().broker
    with testing.override(dramatiq={"broker": f"{APP}:broker", "prefix": "other."}):
        configured().broker

    assert list(stub.actors) == [NAME]


def configured() -> DramatiqAdapter:
    found = adapter.configured()
    assert isinstance(found, DramatiqAdapter)
    return found


# tenantjobs work


def test_a_worker_is_stopped_by_a_signal_that_does_not_reach_its_waiting_thread(stub: StubBroker, acme: Any) -> None:
    with acme:
        app.struck.perform_later()

    assert configured().work(WorkOptions(queues=("default",), polling_interval=0.02)) == 0
    assert app.SEEN == ["struck"]


@pytest.mark.services
@pytest.mark.parametrize("kind", ["RabbitMQ", "Redis"])
def test_a_worker_leaves_what_still_runs_when_its_time_is_up(kind: str, tmp_path: Path, acme: Any, use: Any) -> None:
    with site(kind, use) as notes, cli(kind, notes.name, tmp_path, "--shutdown-timeout", "0.1") as worker:
        with acme:
            app.sleeping.perform_later(30)
        assert notes() == "started"
        worker.terminate()

        assert worker.wait(10) == 1


@pytest.mark.services
def test_a_worker_that_is_asked_twice_does_not_wait(tmp_path: Path, acme: Any, use: Any) -> None:
    with site("Redis", use) as notes, cli("Redis", notes.name, tmp_path, "--shutdown-timeout", "60") as worker:
        with acme:
            app.sleeping.perform_later(30)
        assert notes() == "started"
        worker.send_signal(signal.SIGINT)
        time.sleep(0.3)
        worker.terminate()

        assert worker.wait(10) == 1


class Notes:
    """What the jobs of an application elsewhere have noted, one by one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._store = redis.Redis.from_url(REDIS, socket_timeout=60)

    def __call__(self) -> str:
        found: Any = self._store.blpop([f"{self.name}:notes"], timeout=30)
        assert found is not None
        return str(found[1].decode())

    def close(self) -> None:
        self._store.close()


@contextmanager
def site(kind: str, use: Any) -> Iterator[Notes]:
    """A broker of the application, under a name of its own."""
    for service in {kind, "Redis"}:
        require(service)
    notes = Notes(new_name())
    broker: Any = RedisBroker(url=REDIS, namespace=notes.name) if kind == "Redis" else RabbitmqBroker(url=AMQP)
    use(broker, prefix=f"{notes.name}.")
    yield notes
    notes.close()
    servers.remove(notes.name, f"{notes.name}.default")


@contextmanager
def cli(kind: str, name: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    variables = {
        "APP_BROKER": kind,
        "APP_NAME": name,
        "TENANTJOBS_ADAPTER": "dramatiq",
        "TENANTJOBS_APP": APP,
        "TENANTJOBS_DRAMATIQ_BROKER": f"{APP}:broker",
        "TENANTJOBS_DRAMATIQ_PREFIX": f"{name}.",
        "PYTHONPATH": os.pathsep.join([str(servers.ROOT), str(servers.ROOT / "adapters"), *filter(None, sys.path)]),
    }
    command = [sys.executable, "-m", "tenantjobs.cli", "work", *arguments]
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()

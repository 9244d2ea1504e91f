from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import dramatiq
import pytest
from dramatiq import Broker, Message
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, GroupCallbacks
from dramatiq.rate_limits.backends import StubBackend as Barriers
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_dramatiq
import tenantjobs_sqlalchemy
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, SerializationError
from tenantjobs_dramatiq.middleware import TenantMiddleware
from tests.services import require
from tests.tenantjobs_dramatiq import servers
from tests.tenantjobs_dramatiq.shop import Shop


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    before = dramatiq.broker.global_broker
    made = StubBroker()
    dramatiq.set_broker(made)
    yield made
    dramatiq.broker.global_broker = before
    made.close()


def test_it_is_first_in_the_list_and_once(broker: StubBroker) -> None:
    tenantjobs_dramatiq.install(broker)
    tenantjobs_dramatiq.install(broker)

    assert [isinstance(each, TenantMiddleware) for each in broker.middleware].index(True) == 0
    assert sum(isinstance(each, TenantMiddleware) for each in broker.middleware) == 1


def test_it_is_installed_on_a_broker_without_middleware() -> None:
    bare = StubBroker(middleware=[])
    tenantjobs_dramatiq.install(bare)

    assert len(bare.middleware) == 1


def test_another_policy_is_refused(broker: StubBroker) -> None:
    tenantjobs_dramatiq.install(broker)
    with pytest.raises(ConfigurationError, match="decide for one"):
        tenantjobs_dramatiq.install(broker, after_commit=True)
    with pytest.raises(ConfigurationError, match="required, optional, observe"):
        tenantjobs_dramatiq.install(broker, tenancy="requierd")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="takes a Dramatiq broker"):
        tenantjobs_dramatiq.install("broker")  # type: ignore[arg-type]


class Unwritable:
    """What cannot travel."""


class LocalCurrent(Current):
    local_thing: Any = None


def test_a_scope_that_cannot_travel_is_refused_at_the_call(broker: StubBroker) -> None:
    tenantjobs_dramatiq.install(broker)
    actor = dramatiq.actor(lambda: None, actor_name="work", broker=broker)
    with LocalCurrent.set(tenant_id="acme", local_thing=Unwritable()), pytest.raises(SerializationError):
        actor.send()

    assert waiting(broker) == []


# what waits for the commit


def _by_hand(actor: Any) -> Message[Any]:
    return Message(queue_name=actor.queue_name, actor_name=actor.actor_name, args=(), kwargs={}, options={})


def _group_with_a_callback(actor: Any) -> Any:
    group = dramatiq.group([actor.message()])
    group.add_completion_callback(actor.message())
    return group


def _async_twin(actor: Any) -> Any:
    async def twin() -> None: ...

    actor.broker.add_middleware(AsyncIO())
    return dramatiq.actor(twin, broker=actor.broker)


def _of_a_class(given: Broker) -> Any:
    class Work(dramatiq.GenericActor):
        class Meta:
            broker = given

        def perform(self) -> None: ...

    return Work


WAYS: dict[str, Callable[[Any], object]] = {
    "send": lambda actor: actor.send(),
    "send_with_options": lambda actor: actor.send_with_options(max_retries=3),
    "by hand": lambda actor: actor.broker.enqueue(_by_hand(actor)),
    "delay": lambda actor: actor.send_with_options(delay=1),
    "pipeline": lambda actor: (actor.message() | actor.message()).run(),
    "pipeline with a delay": lambda actor: (actor.message() | actor.message()).run(delay=1),
    "group": lambda actor: dramatiq.group([actor.message()]).run(),
    "group with a delay": lambda actor: dramatiq.group([actor.message()]).run(delay=1),
    "group of pipelines": lambda actor: dramatiq.group([actor.message() | actor.message()]).run(delay=1),
    "group of groups": lambda actor: dramatiq.group([dramatiq.group([actor.message()])]).run(),
    "callbacks": lambda actor: actor.send_with_options(on_success=actor, on_failure=actor),
    "a copy": lambda actor: actor.broker.enqueue(actor.message().copy(queue_name="default")),
    "async actor": lambda actor: _async_twin(actor).send(),
    "class": lambda actor: _of_a_class(actor.broker).send(),
    "group with a callback": lambda actor: _group_with_a_callback(actor).run(),
}


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[sessionmaker[Session]]:
    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    made = sessionmaker(engine, class_=type("Own", (Session,), {}))
    tenantjobs_sqlalchemy.install(made)
    yield made
    engine.dispose()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("way", WAYS)
def test_messages_wait_for_the_commit(broker: StubBroker, sessions: Any, way: str, ending: str) -> None:
    tenantjobs_dramatiq.install(broker, after_commit=True)
    broker.add_middleware(GroupCallbacks(Barriers()))

    @dramatiq.actor(broker=broker)
    def work() -> None: ...

    with suppress(ZeroDivisionError), sessions.begin() as session:
        session.execute(text("create table it (id integer)"))
        with Current.set(tenant_id="acme"):
            WAYS[way](work)
        assert waiting(broker) == []
        if ending == "rollback":
            raise ZeroDivisionError

    assert [rb"\"tenant_id\":\"acme\"" in each for each in waiting(broker)] == ([True] if ending == "commit" else [])


def test_what_an_actor_sends_waits_for_its_transaction_and_its_retry_does_not(
    broker: StubBroker, sessions: Any
) -> None:
    tenantjobs_dramatiq.install(broker, after_commit=True)
    runs: list[str | None] = []
    noted: list[tuple[int, str | None]] = []
    note = dramatiq.actor(lambda run: noted.append((run, Current.tenant_id)), actor_name="note", broker=broker)
    with sessions.begin() as session:
        session.execute(text("create table it (id integer)"))

    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=1, max_backoff=1)
    def write() -> None:
        runs.append(Current.tenant_id)
        with sessions.begin() as session:
            session.execute(text("insert into it values (1)"))
            note.send(len(runs))
            assert [] == waiting(broker)
            if len(runs) == 1:
                raise ConnectionError("as asked for")

    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    with Current.set(tenant_id="acme"):
        write.send()
    worker.start()
    try:
        broker.join("default", timeout=10_000)
        worker.join()
    finally:
        worker.stop()

    assert runs == ["acme", "acme"]
    assert noted == [(2, "acme")]


def test_what_waits_has_the_arguments_of_the_call(broker: StubBroker, sessions: Any) -> None:
    tenantjobs_dramatiq.install(broker, tenancy="optional", after_commit=True)
    actor = dramatiq.actor(lambda given: None, actor_name="work", broker=broker)
    given = [1]
    with sessions.begin() as session:
        session.execute(text("create table it (id integer)"))
        sent = actor.send(given)
        given.append(2)

    (data,) = waiting(broker)
    assert Message.decode(data).args == ([1],)
    assert Message.decode(data).message_id == sent.message_id


def test_a_message_outside_of_a_transaction_leaves_at_once(broker: StubBroker) -> None:
    tenantjobs_dramatiq.install(broker, after_commit=True)
    actor = dramatiq.actor(lambda: None, actor_name="work", broker=broker)
    actor.send()

    assert len(waiting(broker)) == 1


def waiting(broker: StubBroker) -> list[bytes]:
    return [data for each in broker.queues.values() for data in list(each.queue)]


# what is sent when there is no scope

SENDS: dict[str, Callable[[Shop], object]] = {
    "send": lambda shop: shop.who.send(1, two=2),
    "options": lambda shop: shop.who.send_with_options(args=(1,), color="blue", broker_priority=2, max_retries=3),
    "delay": lambda shop: shop.who.send_with_options(delay=60_000),
    "by hand": lambda shop: shop.broker.enqueue(_by_hand(shop.who)),
    "callbacks": lambda shop: shop.who.send_with_options(on_success="succeeded", on_failure="failed"),
    "pipeline": lambda shop: (shop.who.message(1) | shop.who.message() | shop.who.message()).run(),
    "group with a callback": lambda shop: _group_with_a_callback(shop.who).run(),
}
# What differs from one call to the next, also without us.
IDS = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b1[0-9]{12}\b")


@pytest.mark.services
@pytest.mark.parametrize("after_commit", [False, True])
@pytest.mark.parametrize("kind", ["RabbitMQ", "Redis"])
def test_without_a_scope_every_message_is_byte_for_byte_what_it_was(kind: str, after_commit: bool) -> None:
    require(kind)
    require("Redis")
    bare, installed = on_the_wire(kind, None), on_the_wire(kind, after_commit)

    assert len(SENDS) == len(bare)
    assert bare == installed


def on_the_wire(kind: str, after_commit: bool | None) -> list[bytes]:
    """The messages of all these ways as they are stored; without us if it is None."""
    shop = Shop(servers.new_name(), kind, install=False)
    before = dramatiq.broker.global_broker
    try:
        if after_commit is not None:
            tenantjobs_dramatiq.install(shop.broker, after_commit=after_commit)
        dramatiq.set_broker(shop.broker)  # where pipelines and groups go
        for send in SENDS.values():
            send(shop)
        return [IDS.sub(b"?", each).replace(shop.name.encode(), b"QUEUE") for each in stored(shop)]
    finally:
        dramatiq.broker.global_broker = before
        shop.close()
        servers.remove(shop.name, shop.name)


def stored(shop: Shop) -> list[bytes]:
    queues, broker = (shop.name, f"{shop.name}.DQ"), cast("Any", shop.broker)
    if shop.kind == "Redis":
        return sorted(each for queue in queues for each in broker.client.hvals(f"{shop.name}:{queue}.msgs"))
    found = []
    for queue in queues:
        while (letter := broker.channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(repr(letter[1]).encode() + letter[2])
    return found


def test_a_broker_of_another_library_is_installed_too() -> None:
    class Other(StubBroker):
        def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
            return super().enqueue(message, delay=delay)

    other: Broker = Other()
    tenantjobs_dramatiq.install(other)
    actor = dramatiq.actor(lambda: None, actor_name="work", broker=other)
    with Current.set(tenant_id="acme"):
        sent = actor.send()

    assert '"tenant_id":"acme"' in sent.options["tenantjobs"]

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import dramatiq
import pytest
from dramatiq import Broker, Message
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import GroupCallbacks
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


WAYS: dict[str, Callable[[Any], object]] = {
    "send": lambda actor: actor.send(),
    "send_with_options": lambda actor: actor.send_with_options(max_retries=3),
    "by hand": lambda actor: actor.broker.enqueue(_by_hand(actor)),
    "delay": lambda actor: actor.send_with_options(delay=1),
    "pipeline": lambda actor: (actor.message() | actor.message()).run(),
    "pipeline with a delay": lambda actor: (actor.message() | actor.message()).run(delay=1),
    "group": lambda actor: dramatiq.group([actor.message()]).run(),
    "group of pipelines": lambda actor: dramatiq.group([actor.message() | actor.message()]).run(delay=1),
    "group with a callback": lambda actor: _group_with_a_callback(actor).run(),
}


@pytest.fixture
def sessions() -> Iterator[sessionmaker[Session]]:
    engine = create_engine("sqlite://")
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


@pytest.mark.services
@pytest.mark.parametrize("kind", ["RabbitMQ", "Redis"])
def test_without_a_scope_the_message_is_byte_for_byte_what_it_was(kind: str) -> None:
    require(kind)
    name = servers.new_name()
    shops = [Shop(name, kind, install=install) for install in (False, True)]
    given = {"color": "blue", "broker_priority": 2, "redis_message_id": "1"}
    message: Message[Any] = Message(queue_name=name, actor_name="who", args=(1,), kwargs={"two": 2}, options=given)
    try:
        for shop in shops:
            shop.broker.enqueue(message)
        bare, installed = on_the_wire(shops[0].broker, name)
    finally:
        for shop in shops:
            shop.close()
        servers.remove(name, name)

    assert bare == installed
    assert b"tenantjobs" not in installed


def on_the_wire(broker: Any, name: str) -> list[bytes]:
    """The messages as they are stored, less the id that Dramatiq gives each of them in Redis."""
    if hasattr(type(broker), "channel"):
        return [broker.channel.basic_get(name, auto_ack=True)[2] for _ in range(2)]
    stored = broker.client.hgetall(f"{name}:{name}.msgs")
    return [data.replace(each, b"?") for each, data in stored.items()]


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

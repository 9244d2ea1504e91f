"""The actors that real workers run in these tests: each says for whom it ran."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import dramatiq_abort
import redis
from dramatiq import Broker, Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import AsyncIO, CurrentMessage, GroupCallbacks, Shutdown, SkipMessage
from dramatiq.middleware.time_limit import TimeLimitExceeded
from dramatiq.rate_limits.backends import RedisBackend as Barriers
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as Stored
from dramatiq_abort.backends import RedisBackend as Events

import tenantjobs_dramatiq
from tenantjobs.carriage import Tenancy
from tenantjobs.current import Current
from tests.services import BROKERS, REDIS

PATIENCE = 20


class Shop:
    """A broker, a queue of this name, and what happened to the messages in it."""

    def __init__(self, name: str, kind: str, *, install: bool = True, tenancy: Tenancy = "required") -> None:
        self.name = name
        self.kind = kind
        self.store = redis.Redis.from_url(REDIS, socket_timeout=2 * PATIENCE)
        self.broker = self._broker()
        if install:
            tenantjobs_dramatiq.install(self.broker, tenancy)
        self.results = Stored(client=self.store, namespace=f"{name}:results")
        self.abortable = dramatiq_abort.Abortable(backend=Events(client=self.store))
        for middleware in (
            GroupCallbacks(Barriers(client=self.store)),
            Results(backend=self.results, store_results=True),
            AsyncIO(),
            CurrentMessage(),
            self.abortable,
        ):
            self.broker.add_middleware(middleware)
        for function in ACTORS:
            options = {"max_retries": 0, "min_backoff": 1, "max_backoff": 20, **OPTIONS.get(function.__name__, {})}
            dramatiq.actor(function, broker=self.broker, queue_name=name, **options)

    def __getattr__(self, name: str) -> Any:
        """The actor of that name."""
        return self.broker.get_actor(name)

    def got(self, message: Message[Any]) -> Any:
        """What the actor returned, or the error that it failed of, raised."""
        return message.get_result(backend=self.results, block=True, timeout=PATIENCE * 1000)

    def error(self, message: Message[Any]) -> str:
        """The error that the actor failed of."""
        try:
            found = self.got(message)
        except dramatiq.results.ResultFailure as error:
            return str(error)
        raise AssertionError(f"{message} has not failed: {found}")

    def notes(self, key: str, count: int = 1) -> list[str]:
        """What was noted, as soon as there is that much of it."""
        found: list[str] = []
        while len(found) < count:
            answer: Any = self.store.blpop([f"{self.name}:note:{key}"], timeout=PATIENCE)
            assert answer is not None, f"{key}: {found} and no more, where {count} are expected"
            found.append(answer[1].decode())
        return found

    def noted(self, key: str) -> list[str]:
        """What has been noted so far."""
        found: Any = self.store.lrange(f"{self.name}:note:{key}", 0, -1)
        return [each.decode() for each in found]

    def dead_letter(self, message: Message[Any]) -> Message[Any]:
        """The message among the dead letters, once it is there."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for letter in map(Message.decode, self._dead()):
                if letter.message_id == message.message_id:
                    return letter
            time.sleep(0.02)
        raise AssertionError(f"{message} is not among the dead letters")

    def _dead(self) -> Iterator[bytes]:
        if self.kind == "Redis":
            letters: Any = self.store.hvals(f"{self.name}:{self.name}.XQ.msgs")
            yield from letters
            return
        broker: Any = self.broker
        while (letter := broker.channel.basic_get(f"{self.name}.XQ", auto_ack=True))[0] is not None:
            yield letter[2]

    def close(self) -> None:
        self.broker.close()
        self.store.close()

    def _broker(self) -> Broker:
        if self.kind == "RabbitMQ":
            return RabbitmqBroker(url=BROKERS["RabbitMQ"], max_priority=10, confirm_delivery=True)
        # A worker is missed after two seconds, and whoever talks to Redis looks for what it left.
        return RedisBroker(url=REDIS, namespace=self.name, heartbeat_timeout=2000, maintenance_chance=1_000_000)


def whom() -> str:
    """For whom this code runs, in one word."""
    if Current.scope == "system":
        return "system"
    return Current.tenant_id or "-"


def note(key: str, what: str | None = None) -> int:
    """Kept under the name of the shop, so that it goes with it; the number of notes so far."""
    here = f"{os.environ['SHOP_NAME']}:note:{key}"
    with redis.Redis.from_url(REDIS) as store:
        store.rpush(here, whom() if what is None else what)
        return int(store.incr(f"{here}:count"))


# actors


def who(*_: object, **__: object) -> str:
    return whom()


def noting(key: str) -> str:
    note(key)
    return whom()


async def who_async() -> list[str]:
    async def elsewhere() -> str:
        await asyncio.sleep(0)
        return whom()

    return [whom(), *await asyncio.gather(elsewhere(), asyncio.to_thread(whom))]


async def parent_async(key: str) -> None:
    await asyncio.sleep(0)
    _actor("noting").send(key)


def parent(key: str) -> None:
    child = _actor("noting")
    child.send(key)
    child.send_with_options(args=(key,), delay=1)
    dramatiq.group([child.message(key)], broker=_broker()).run()
    dramatiq.pipeline([child.message(key), _actor("who").message()], broker=_broker()).run()


def switching_parent(key: str) -> None:
    with Current.switch("a copy for globex", tenant_id="globex"):
        _actor("noting").send(key)


def failing(*_: object) -> None:
    raise RuntimeError("as asked for")


def flaky(key: str, runs: int) -> str:
    if note(key) < runs:
        with Current.switch("to see that it does not stick", tenant_id="elsewhere"):
            raise ConnectionError("as asked for")
    return whom()


def asking_again(key: str) -> str:
    if note(key) < 2:
        raise dramatiq.errors.Retry("as asked for", delay=5)
    return whom()


def forbidden() -> None:
    note("forbidden", "it ran")


def succeeded(message: dict[str, Any], result: Any) -> None:
    note(f"{message['message_id']}:succeeded")


def failed(message: dict[str, Any], error: dict[str, str]) -> None:
    note(f"{message['message_id']}:failed")
    _actor("noting").send(f"{message['message_id']}:child")


def exhausted(message: dict[str, Any], retries: dict[str, int]) -> None:
    note(f"{message['message_id']}:exhausted")


def leaving_open(fail: bool = False) -> str:
    Current.switch("never left", tenant_id="LEAK").__enter__()
    if fail:
        raise RuntimeError("as asked for")
    return whom()


def exiting() -> None:
    Current.switch("never left", tenant_id="LEAK").__enter__()
    raise SystemExit(1)


def limited() -> None:
    raise RateLimitExceeded("as asked for")


def skipped() -> None:
    raise SkipMessage("as asked for")


def endless(key: str) -> None:
    Current.switch("never left", tenant_id="LEAK").__enter__()
    note(key)
    for _ in range(3000):
        time.sleep(0.01)


def interrupted(key: str) -> None:
    try:
        note(key)
        for _ in range(3000):
            time.sleep(0.01)
    except (Shutdown, TimeLimitExceeded, dramatiq_abort.Abort) as error:
        note(f"{key}:{type(error).__name__}")
        raise


def killed(key: str) -> str:
    if note(key) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return whom()


ACTORS: list[Callable[..., Any]] = [
    who,
    noting,
    who_async,
    parent_async,
    parent,
    switching_parent,
    failing,
    flaky,
    asking_again,
    forbidden,
    succeeded,
    failed,
    exhausted,
    leaving_open,
    exiting,
    limited,
    skipped,
    endless,
    interrupted,
    killed,
]
OPTIONS: dict[str, dict[str, Any]] = {"flaky": {"max_retries": 2}, "asking_again": {"max_retries": 1}}


def _broker() -> Broker:
    return dramatiq.get_broker()


def _actor(name: str) -> Any:
    return _broker().get_actor(name)

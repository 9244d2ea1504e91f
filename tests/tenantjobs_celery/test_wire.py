"""What lies in the broker: with carriage and outside of any scope, every message is byte for byte what it was."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord, group

import tenantjobs_celery
from tenantjobs.current import Current
from tests.services import BROKERS, REDIS, require

pytestmark = pytest.mark.services

# What is published is there to get when the call returns.
TRANSPORT = {"RabbitMQ": {"confirm_publish": True}, "Redis": {}}
# What differs from one call to the next, also without us.
IDS = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIMES = re.compile(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?")

SENDS: dict[str, Callable[[Any, Any], object]] = {
    "delay": lambda app, task: task.delay(1, two=2),
    "options": lambda app, task: task.apply_async(
        (1,), priority=3, expires=60, headers={"color": "blue"}, time_limit=7, shadow="else", ignore_result=True
    ),
    "countdown": lambda app, task: task.apply_async(countdown=60),
    "eta": lambda app, task: task.apply_async(eta=datetime(2099, 1, 1, tzinfo=UTC)),
    "by name": lambda app, task: app.send_task("look", [1], {"two": 2}),
    "callbacks": lambda app, task: task.apply_async(link=[task.s(1), task.s() | task.s()], link_error=task.s(2)),
    "signature": lambda app, task: app.signature("look", (1,), link=[task.s()]).delay(),
    "group": lambda app, task: group(task.s(1), task.s(2) | task.s())(),
    "chain": lambda app, task: chain(task.s(1), task.s(), group(task.s(), task.s()), task.s())(),
    "chord": lambda app, task: chord([task.s(1), task.s(2)], task.s())(),
    "map": lambda app, task: task.map([1, 2]).delay(),
    "starmap": lambda app, task: task.starmap([(1,), (2,)]).delay(),
    "chunks": lambda app, task: task.chunks([(1,), (2,)], 1)(),
    "stamped": lambda app, task: task.s(1).stamp(reason="any").apply_async(),
}


def look(*_: object, **__: object) -> None: ...


@pytest.fixture(params=["RabbitMQ", "Redis"])
def broker(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    require(found)
    require("Redis")
    return found


@pytest.mark.parametrize("protocol", [2, 1])
@pytest.mark.parametrize("after_commit", [False, True])
def test_an_empty_scope_changes_no_byte(broker: str, protocol: int, after_commit: bool) -> None:
    sent = [_sent(broker, protocol, install) for install in (None, lambda app: _install(app, after_commit))]

    assert len(sent[0]) >= len(SENDS) - 1  # nothing is stamped under protocol 1
    assert sent[0] == sent[1]


def test_a_scope_adds_one_header_and_nothing_else(broker: str) -> None:
    bare = _sent(broker, 2, None, only="delay")
    with Current.set(tenant_id="acme"):
        carried = _sent(broker, 2, lambda app: _install(app, False), only="delay")

    assert len(bare) == len(carried) == 1
    assert bare != carried
    assert bare[0] == _without_header(carried[0])


def _install(app: Celery, after_commit: bool) -> None:
    tenantjobs_celery.install(app, after_commit=after_commit)


def _sent(
    broker: str, protocol: int, install: Callable[[Celery], None] | None, only: str | None = None
) -> list[tuple[bytes, ...]]:
    """Body, headers and properties of every message, as they lie in the queue."""
    queue = f"tj{uuid.uuid4().hex[:10]}"
    app = Celery("wire", broker=BROKERS[broker], backend="cache+memory://", set_as_current=False)
    if install is not None:
        install(app)
    app.conf.update(
        task_default_queue=queue,
        task_default_exchange="",
        task_queue_max_priority=5,
        broker_transport_options=TRANSPORT[broker],
        task_protocol=protocol,
        result_expires=1,
    )
    task = app.task(look, name="look", shared=False)
    for name in [only] if only else SENDS:
        if protocol == 1 and name == "stamped":
            continue
        SENDS[name](app, task)
    found = _in_rabbitmq(app, queue) if broker == "RabbitMQ" else _in_redis(queue)
    app.close()
    return [tuple(_same(part, queue) for part in parts) for parts in found]


def _same(part: bytes, queue: str) -> bytes:
    return TIMES.sub(b"TIME", IDS.sub(b"ID", part)).replace(queue.encode(), b"QUEUE")


def _in_rabbitmq(app: Celery, queue: str) -> list[tuple[bytes, ...]]:
    found = []
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            found.append((bytes(str(message.body), "utf-8"), repr(message.properties).encode()))
        channel.queue_delete(queue)
    return found


def _in_redis(queue: str) -> list[tuple[bytes, ...]]:
    with redis.Redis.from_url(REDIS) as store:
        keys = sorted(store.scan_iter(f"{queue}*"))
        found: list[tuple[bytes, ...]] = [(key, each) for key in keys for each in store.lrange(key, 0, -1)]  # type: ignore[union-attr]
        store.delete(*keys, f"_kombu.binding.{queue}")
    return [(key, base64.b64decode(json.loads(each)["body"]), _without_body(each)) for key, each in found]


def _without_body(message: bytes) -> bytes:
    return json.dumps({**json.loads(message), "body": ""}).encode()


def _without_header(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    header = json.dumps({"v": 1, "tenant_id": "acme"}, separators=(",", ":"))
    forms = [f", 'tenantjobs': '{header}'", f', "tenantjobs": {json.dumps(header)}']
    return tuple(_removed(part, forms) for part in parts)


def _removed(part: bytes, forms: list[str]) -> bytes:
    for form in forms:
        part = part.replace(form.encode(), b"")
    return part

"""Actors for real workers: what they see is noted in Redis."""

from __future__ import annotations

import os

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

import tenantjobs_dramatiq
from tenantjobs.current import Current

REDIS = os.environ.get("TENANTJOBS_TEST_REDIS", "redis://127.0.0.1:6379/0")
RABBIT = os.environ.get("TENANTJOBS_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = os.environ.get("SHOP_QUEUE", "shop")

store = redis.Redis.from_url(REDIS)
broker: dramatiq.Broker = (
    RabbitmqBroker(url=RABBIT) if os.environ.get("SHOP_BROKER") == "rabbitmq" else RedisBroker(url=REDIS)
)
dramatiq.set_broker(broker)
tenantjobs_dramatiq.install(broker)


def _note(label: str) -> None:
    store.rpush(f"{QUEUE}:notes", f"{label} {Current.tenant_id}")


@dramatiq.actor(queue_name=QUEUE, max_retries=0)
def note(label: str) -> None:
    _note(label)


@dramatiq.actor(queue_name=QUEUE, max_retries=3, min_backoff=1, max_backoff=10)
def flaky() -> None:
    _note("flaky")
    if store.incr(f"{QUEUE}:flaky") == 1:
        raise ValueError("once")

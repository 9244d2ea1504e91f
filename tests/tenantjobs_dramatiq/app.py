"""The application whose jobs the adapter performs in these tests, and its broker."""

from __future__ import annotations

import os
import signal
import threading
import time

import redis
from dramatiq import Broker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from tenantjobs import JobTimeout, current_job, discard_on, idempotent, job, retry_on
from tests.services import BROKERS, REDIS
from tests.tenantjobs_dramatiq.shop import whom


def _broker() -> Broker:
    kind = os.environ.get("APP_BROKER")
    if kind == "RabbitMQ":
        return RabbitmqBroker(url=BROKERS[kind])
    elif kind == "Redis":
        return RedisBroker(url=REDIS, namespace=os.environ["APP_NAME"])
    return StubBroker()


broker = _broker()
SEEN: list[str] = []


def note(what: str) -> None:
    """For the test, in this process or in another one."""
    SEEN.append(what)
    if "APP_NAME" in os.environ:
        with redis.Redis.from_url(REDIS) as store:
            store.rpush(f"{os.environ['APP_NAME']}:notes", what)


@job(name="dramatiq.noted")
def noted() -> object:
    note(whom())
    return object()  # nothing of it is stored


@job(name="dramatiq.anonymous", tenancy="optional")
def anonymous() -> None:
    note(whom())


@job(name="dramatiq.retried", policies=[retry_on(ConnectionError, wait=0, attempts=3)])
def retried() -> None:
    found = current_job()
    assert found is not None
    note(f"{whom()} {found.attempt}")
    if found.attempt < 3:
        raise ConnectionError("as asked for")


@job(name="dramatiq.failing")
def failing() -> None:
    note(whom())
    raise RuntimeError("as asked for")


@job(name="dramatiq.sleeping")
def sleeping(seconds: float) -> None:
    note("started")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    note("ended")


@job(name="dramatiq.hasty", timeout=0.1, policies=[discard_on(JobTimeout, then=lambda _: note("out of time"))])
def hasty() -> None:
    sleeping.perform_now(5)


@job(name="dramatiq.struck")
def struck() -> None:
    time.sleep(0.3)  # by then the worker waits
    note("struck")
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


@job(name="dramatiq.once", policies=[idempotent(key=lambda: "once")])
def once() -> None:
    note(whom())

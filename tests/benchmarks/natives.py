"""One side of a comparison: a publisher or a worker of a queue library, with carriage or without, in its own process.

``python -m tests.benchmarks.natives publisher|worker LIBRARY BROKER NAME bare|carried``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar, Protocol

import redis

from tests.services import BROKERS, REDIS


class Native(Protocol):
    """How messages of one library are published and performed; ``name`` is that of the queue."""

    brokers: ClassVar[tuple[str, ...]]

    def __init__(self, broker: str, name: str, carried: bool) -> None: ...
    def publish(self, task: Callable[..., None], *args: object) -> object: ...
    def work(self) -> object: ...
    def clean(self) -> None: ...


def nothing(number: int) -> None: ...


def mark(name: str) -> None:
    """The last message of a round."""
    redis.Redis.from_url(REDIS).rpush(f"{name}:mark", "done")


class OnCelery:
    """Prefork with one process, no result backend: the leanest there is, so that the share is the greatest."""

    brokers = ("RabbitMQ", "Redis")

    def __init__(self, broker: str, name: str, carried: bool) -> None:
        from celery import Celery

        self.broker, self.name = broker, name
        self.app = Celery(name, broker=BROKERS[broker])
        if carried:
            import tenantjobs_celery

            tenantjobs_celery.install(self.app)
        self.app.conf.update(task_default_queue=name, worker_enable_remote_control=False)
        self.tasks = {each: self.app.task(each, name=f"bench.{each.__name__}") for each in (nothing, mark)}

    def publish(self, task: Callable[..., None], *args: object) -> object:
        return self.tasks[task].delay(*args)

    def work(self) -> object:
        alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return self.app.worker_main(["worker", "--pool=prefork", "--concurrency=1", "--loglevel=ERROR", *alone])

    def clean(self) -> None:
        with self.app.connection_for_write() as connection:
            connection.default_channel.queue_delete(self.name)
            if self.broker == "RabbitMQ":
                connection.default_channel.exchange_delete(self.name)
            else:
                connection.default_channel.client.delete(f"_kombu.binding.{self.name}")


class OnDramatiq:
    """One thread, no results."""

    brokers = ("RabbitMQ", "Redis")

    def __init__(self, broker: str, name: str, carried: bool) -> None:
        import dramatiq
        from dramatiq.brokers.rabbitmq import RabbitmqBroker
        from dramatiq.brokers.redis import RedisBroker

        self.name = name
        self.broker: Any = (
            RabbitmqBroker(url=BROKERS[broker].rstrip("/"))
            if broker == "RabbitMQ"
            else RedisBroker(url=REDIS, namespace=f"{name}:dramatiq")
        )
        if carried:
            import tenantjobs_dramatiq

            tenantjobs_dramatiq.install(self.broker)
        self.actors = {
            each: dramatiq.actor(each, broker=self.broker, queue_name=name, actor_name=each.__name__)
            for each in (nothing, mark)
        }

    def publish(self, task: Callable[..., None], *args: object) -> object:
        return self.actors[task].send(*args)

    def work(self) -> object:
        import dramatiq

        dramatiq.Worker(self.broker, worker_threads=1).start()
        while True:
            time.sleep(3600)

    def clean(self) -> None:
        if not hasattr(self.broker, "channel"):
            return
        for name in (self.name, f"{self.name}.DQ", f"{self.name}.XQ"):
            self.broker.channel.queue_delete(name)


class OnRq:
    """The worker that performs jobs in its own process: with a fork for each job the share would be far less."""

    brokers = ("Redis",)

    def __init__(self, broker: str, name: str, carried: bool) -> None:
        from rq import Queue

        self.name = name
        if carried:
            import tenantjobs_rq

            tenantjobs_rq.install()
        self.queue = Queue(name, connection=redis.Redis.from_url(REDIS))

    def publish(self, task: Callable[..., None], *args: object) -> object:
        return self.queue.enqueue(task, *args, result_ttl=0)

    def work(self) -> object:
        from rq.worker import SimpleWorker

        return SimpleWorker([self.queue], connection=self.queue.connection).work(logging_level="ERROR")

    def clean(self) -> None:
        self.queue.delete(delete_jobs=True)


LIBRARIES: dict[str, type[Native]] = {"Celery": OnCelery, "Dramatiq": OnDramatiq, "RQ": OnRq}


def publish(native: Native, name: str, carried: bool) -> None:
    """As many messages as each line of the standard input says, and the mark."""
    for line in sys.stdin:
        if carried:
            _publish_in_scopes(native, name, int(line))
        else:
            for number in range(int(line)):
                native.publish(nothing, number)
            native.publish(mark, name)
        print("published", flush=True)


def _publish_in_scopes(native: Native, name: str, count: int) -> None:
    """For one tenant after the other, ten messages each: to set the scope is the affair of a request."""
    from tenantjobs.current import Current

    for first in range(0, count, 10):
        with Current.set(tenant_id=str(first % 700 + 1)):
            for number in range(first, first + 10):
                native.publish(nothing, number)
    with Current.set(tenant_id="1"):
        native.publish(mark, name)


def main() -> None:
    role, library, broker, queue, side = sys.argv[1:]
    native = LIBRARIES[library](broker, queue, side == "carried")
    if role == "publisher":
        publish(native, queue, side == "carried")
        native.clean()
    else:
        native.work()


if __name__ == "__main__":
    # By the name under which a worker imports what it performs.
    import_module("tests.benchmarks.natives").main()

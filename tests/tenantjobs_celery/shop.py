"""The app whose tasks real workers run in these tests: each task says for whom it ran."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

import redis
from celery import Celery, chord, group, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_received, task_revoked, worker_ready

import tenantjobs_celery
from tenantjobs.carriage import Tenancy
from tenantjobs.current import Current
from tests.services import REDIS

VARIABLES = ("SHOP_NAME", "SHOP_BROKER", "SHOP_RESULTS", "SHOP_POOL", "SHOP_TENANCY")


def whom() -> str:
    """For whom this code runs, in one word."""
    if Current.scope == "system":
        return "system"
    return Current.tenant_id or "-"


class Shop:
    """One app on one broker, for workers of one pool. Everything it stores begins with ``name``."""

    def __init__(self, name: str, broker: str, results: str, pool: str, tenancy: Tenancy) -> None:
        self.name = name
        self.pool = pool
        self.environment = dict(zip(VARIABLES, (name, broker, results, pool, tenancy), strict=True))
        self.store = redis.Redis.from_url(REDIS, decode_responses=True, socket_timeout=None)  # blpop says how long
        self.app = Celery(name, broker=broker, backend=results, set_as_current=False)
        # Receivers and tasks that are there before ``install``, as in a project that grows into it.
        task_received.connect(self.look_for_residue, weak=False)
        worker_ready.connect(self.announce, weak=False)
        task_revoked.connect(self.note_revoked, weak=False)
        tenantjobs_celery.install(self.app, tenancy)
        self.app.conf.update(
            task_queues={name: {"exchange": "", "routing_key": name, "queue_arguments": {"x-expires": 600_000}}},
            task_default_queue=name,
            task_default_exchange="",
            task_default_routing_key=name,
            task_create_missing_queues=False,
            broker_transport_options={"global_keyprefix": f"{name}:"} if broker.startswith("redis") else {},
            result_backend_transport_options={"global_keyprefix": f"{name}:"},
            result_expires=600,
            broker_connection_retry_on_startup=True,
            control_exchange=name,
            control_queue_expires=60,
            worker_prefetch_multiplier=1,
            redis_max_connections=20,
        )
        define_tasks(self)

    def task(self, name: str) -> Any:
        return self.app.tasks[f"shop.{name}"]

    def note(self, key: str, what: str) -> None:
        self.store.rpush(f"{self.name}:note:{key}", what)

    def look_for_residue(self, **_: object) -> None:
        if Current.scope != "unset":
            self.note("residue", whom())

    def notes(self, key: str, count: int = 1) -> list[str]:
        """What was noted, as soon as there is that much of it."""
        found: list[str] = []
        while len(found) < count:
            answer: Any = self.store.blpop([f"{self.name}:note:{key}"], timeout=45)
            if answer is None:
                raise AssertionError(f"{key}: {found} and no more, where {count} are expected")
            found.append(answer[1])
        return found

    def residue(self) -> list[str]:
        """Where something was in force after a task, or in the main process."""
        found: Any = self.store.lrange(f"{self.name}:note:residue", 0, -1)
        return list(found)

    def close(self) -> None:
        if hasattr(self.app.backend, "result_consumer"):
            self.app.backend.result_consumer.stop()
        if hasattr(self.app.backend, "client"):
            self.app.backend.client.connection_pool.disconnect()
        self.app.close()
        self.store.close()

    def note_revoked(self, *, request: Any, **_: object) -> None:
        self.note(f"{request.id}:revoked", whom())

    def announce(self, **_: object) -> None:
        self.note("ready", "ready")


@shared_task(name="shop.shared")
def shared() -> str:
    return whom()


def define_tasks(shop: Shop) -> None:
    app, note = shop.app, shop.note
    task = partial(app.task, shared=False)  # other apps of this process have shops of their own

    @task(name="shop.who")
    def who(*_: object, **__: object) -> str:
        return whom()

    @task(name="shop.who_all")
    def who_all(parts: list[Any]) -> list[Any]:
        return [*parts, whom()]

    @task(name="shop.noted")
    def noted(*args: Any) -> str:
        note(args[-1], whom())
        return whom()

    @task(name="shop.forbidden")
    def forbidden() -> None:
        note("forbidden", "it ran")

    @task(name="shop.autoretried", bind=True, autoretry_for=(ConnectionError,), default_retry_delay=0)
    def autoretried(self: Any) -> list[Any]:
        note(self.request.id, whom())
        if self.request.retries < 2:
            raise ConnectionError
        return [self.request.retries, whom()]

    @task(name="shop.backing_off", bind=True, autoretry_for=(ConnectionError,), retry_backoff=0.1, retry_jitter=False)
    def backing_off(self: Any) -> list[Any]:
        if self.request.retries == 0:
            raise ConnectionError
        return [self.request.retries, whom()]

    @task(name="shop.retried", bind=True, default_retry_delay=0)
    def retried(self: Any, **options: Any) -> list[Any]:
        if self.request.retries == 0:
            with Current.switch("to see that it does not stick", tenant_id="elsewhere"):
                raise self.retry(args=(), kwargs={}, **options)
        return [whom(), (self.request.headers or {}).get("color")]

    @task(name="shop.parent")
    def parent() -> list[str]:
        return [
            who.delay().id,
            app.send_task("shop.who").id,
            who.si().apply_async(countdown=0.1).id,
            (who.s() | who.s()).delay().id,
        ]

    @task(name="shop.switching_parent")
    def switching_parent() -> list[str]:
        with Current.switch("a copy for globex", tenant_id="globex"):
            return [who.delay().id]

    @task(name="shop.failing")
    def failing(*_: object) -> None:
        raise RuntimeError("as asked for")

    @task(name="shop.old_errback")
    def old_errback(task_id: str) -> None:
        note(task_id, whom())

    @task(name="shop.new_errback")
    def new_errback(request: Any, exc: object, traceback: object) -> None:
        note(request.id, whom())

    @task(name="shop.replaced", bind=True)
    def replaced(self: Any) -> None:
        raise self.replace(who.s())

    @task(name="shop.replaced_by_group", bind=True)
    def replaced_by_group(self: Any) -> None:
        raise self.replace(group(who.s(), who.s()))

    @task(name="shop.replaced_by_chain", bind=True)
    def replaced_by_chain(self: Any) -> None:
        raise self.replace(who_all.s([]) | who_all.s())

    @task(name="shop.replaced_by_chord", bind=True)
    def replaced_by_chord(self: Any) -> None:
        raise self.replace(chord([who.s(), who.s()], who_all.s()))

    @task(name="shop.ignored", bind=True)
    def ignored(self: Any) -> None:
        note(self.request.id, whom())
        raise Ignore("as asked for")

    @task(name="shop.rejected", bind=True, acks_late=True)
    def rejected(self: Any, *, requeue: bool) -> str:
        note(self.request.id, whom())
        if not self.request.delivery_info["redelivered"]:
            raise Reject("as asked for", requeue=requeue)
        return whom()

    endings = {
        "raises": RuntimeError("as asked for"),
        "is over its soft limit": SoftTimeLimitExceeded(),
        "ignored": Ignore(),
        "rejected": Reject("as asked for"),
        "exits": SystemExit(0),
    }

    @task(name="shop.leaving_open", bind=True)
    def leaving_open(self: Any, ending: str = "returns") -> str:
        Current.switch("never left", tenant_id="LEAK").__enter__()
        if self.request.id is not None:
            note(f"{self.request.id}:ran", "it ran")
        if ending in endings:
            raise endings[ending]
        return whom()

    @task(name="shop.waiting", bind=True)
    def waiting(self: Any) -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()
        note(f"{self.request.id}:ran", "it ran")
        time.sleep(60)

    @task(name="shop.soft", soft_time_limit=1)
    def soft() -> None:
        Current.switch("never left", tenant_id="LEAK").__enter__()
        time.sleep(5)

    class Endless(app.Task):  # type: ignore[misc, name-defined]  # celery has no types
        name = "shop.endless"
        time_limit = 1

        def run(self) -> None:
            time.sleep(60)

        def on_failure(self, exc: object, task_id: str, *_: object) -> None:
            note(f"{task_id}:on_failure", whom())

    class Hooked(app.Task):  # type: ignore[misc, name-defined]  # celery has no types
        name = "shop.hooked"
        default_retry_delay = 0

        def run(self, *, fail: bool) -> str:
            if self.request.retries == 0:
                raise self.retry(exc=ConnectionError("as asked for"))
            if fail:
                raise RuntimeError("as asked for")
            return whom()

        def before_start(self, task_id: str, *_: object) -> None:
            note(f"{task_id}:before_start", whom())

        def on_retry(self, exc: object, task_id: str, *_: object) -> None:
            note(f"{task_id}:on_retry", whom())

        def on_success(self, retval: object, task_id: str, *_: object) -> None:
            note(f"{task_id}:on_success", whom())

        def on_failure(self, exc: object, task_id: str, *_: object) -> None:
            note(f"{task_id}:on_failure", whom())

        def after_return(self, status: object, retval: object, task_id: str, *_: object) -> None:
            note(f"{task_id}:after_return", whom())

    @task(name="shop.killed_with_its_worker", bind=True, acks_late=True)
    def killed_with_its_worker(self: Any) -> str:
        note(self.request.id, whom())
        if not self.request.delivery_info["redelivered"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return whom()

    @task(name="shop.killed", bind=True, acks_late=True, reject_on_worker_lost=True)
    def killed(self: Any) -> list[str]:
        note(self.request.id, whom())
        if not self.request.delivery_info["redelivered"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return [whom()]

    app.register_task(Endless())
    app.register_task(Hooked())

"""The one native actor that performs every job of ours."""

from __future__ import annotations

from math import inf
from typing import Any

from dramatiq import Actor, Broker
from dramatiq.middleware import Middleware

from tenantjobs import strides

NAME = "tenantjobs.perform"


def declare(broker: Broker, *, queue_name: str) -> None:
    """Let the broker know the actor, once.

    What becomes of a job is decided inside: Dramatiq neither retries it, nor drops it for its age, nor interrupts it,
    whatever the broker's middleware does to other actors.
    """
    if NAME in broker.actors:
        return
    options: dict[str, Any] = {
        "max_retries": 0,
        "retry_when": None,
        "max_age": None,
        "notify_shutdown": False,
        "time_limit": inf,
        "store_results": False,
    }
    watch = Watch()
    broker.add_middleware(watch)
    broker.add_middleware(Failing())

    def perform(data: str) -> None:
        strides.perform(data, stopping=lambda: watch.stopping)

    Actor(perform, broker=broker, actor_name=NAME, queue_name=queue_name, priority=0, options=options)


class Watch(Middleware):
    """Sees the worker of this process come and go."""

    stopping = False

    def before_worker_boot(self, *_: Any, **__: Any) -> None:
        self.stopping = False

    def before_worker_shutdown(self, *_: Any, **__: Any) -> None:
        self.stopping = True


class Failing(Middleware):
    """A job that failed goes to the dead letters, also on a broker without the middleware that retries."""

    def after_process_message(self, *given: Any, **outcome: Any) -> None:
        _, message = given
        if message.actor_name == NAME and outcome.get("exception") is not None:
            message.fail()

"""A program on Dramatiq that knows nothing of tenants: what it observes is the same with carriage and without.

``python -m tests.tenantjobs_dramatiq.program bare|carried``: sends, works off what it has sent in one thread, and
prints what came of it.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
import sys
from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import CurrentMessage, GroupCallbacks, Middleware, SkipMessage
from dramatiq.rate_limits.backends import StubBackend as Barriers
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

broker = StubBroker()
seen: list[Any] = []


class Watching(Middleware):
    """Notes what Dramatiq tells of each message, and with which options."""

    actor_options = {"color"}  # as Dramatiq's own middleware declares them

    def before_process_message(self, broker: Any, message: Any) -> None:
        seen.append(["before", *self._told(message)])

    def after_process_message(self, broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
        seen.append(["after", *self._told(message), result, repr(exception), message.failed])

    def after_skip_message(self, broker: Any, message: Any) -> None:
        seen.append(["skipped", *self._told(message)])

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        seen.append(["enqueued", *self._told(message), delay])

    def before_nack(self, broker: Any, message: Any) -> None:
        seen.append(["nack", *self._told(message)])

    def _told(self, message: Any) -> list[Any]:
        hidden = (
            "group_completion_uuid",
            "traceback",
            "requeue_timestamp",
            "retry_timestamp",
            "eta",
            "redis_message_id",
        )
        options = {name: repr(value) for name, value in sorted(message.options.items()) if name not in hidden}
        for name in ("pipe_target", "group_completion_callbacks"):
            if name in options:
                options[name] = "there"
        # Callbacks are given messages, with ids and moments.
        args = len(message.args) if message.actor_name == "told" else message.args
        return [message.actor_name, args, message.kwargs, options]


for middleware in (GroupCallbacks(Barriers()), Results(backend=StubBackend(), store_results=True), CurrentMessage()):
    broker.add_middleware(middleware)
broker.add_middleware(Watching())
if sys.argv[1] == "carried":
    import tenantjobs_dramatiq

    tenantjobs_dramatiq.install(broker, tenancy="optional", after_commit=True)
dramatiq.set_broker(broker)
again = {"max_retries": 2, "min_backoff": 1, "max_backoff": 1}


@dramatiq.actor(**again)
def add(x: int, y: int = 1) -> int:
    message: Any = CurrentMessage.get_current_message()
    seen.append(message and [message.options.get("color"), message.actor_name])
    return x + y


@dramatiq.actor(**again)
def failing() -> None:
    raise KeyError("as asked for")


@dramatiq.actor(**again, throws=ValueError)
def thrown() -> None:
    raise ValueError("as expected")


@dramatiq.actor(**again)
def asking_again() -> None:
    raise dramatiq.errors.Retry("as asked for", delay=1)


@dramatiq.actor(**again)
def skipping() -> None:
    raise SkipMessage("as asked for")


@dramatiq.actor(**again)
def exiting() -> None:
    raise SystemExit(3)


@dramatiq.actor(**again)
def told(*given: Any) -> None:
    seen.append(["told", len(given)])


def group() -> Any:
    made = dramatiq.group([add.message(1), add.message(2) | add.message()])
    made.add_completion_callback(told.message())
    return made.run()


SENDS: list[Any] = [
    lambda: add.send(1),
    lambda: add.send_with_options(args=(1,), kwargs={"y": 5}, color="blue", broker_priority=3),
    lambda: add.send_with_options(args=(1,), delay=5),
    lambda: add.send_with_options(args=(1,), on_success=told),
    lambda: add.send("wrong", y=None),
    lambda: failing.send_with_options(on_failure="told", max_retries=1),
    thrown.send,
    asking_again.send,
    skipping.send,
    exiting.send,
    lambda: (add.message(1) | add.message() | add.message(5)).run(),
    group,
    lambda: add(1),
]


def outcome(sent: Any) -> Any:
    """What can be read of it, if it can."""
    if isinstance(sent, int):
        return sent
    try:
        return list(sent.get_results()) if isinstance(sent, dramatiq.group) else sent.get_result()
    except dramatiq.results.ResultError as error:
        return [type(error).__name__, str(error).partition(" Message")[0]]


def main() -> None:
    rounds, outcomes = [], []
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    for send in SENDS:
        sent = send()
        broker.join("default", fail_fast=False, timeout=20_000)
        worker.join()
        outcomes.append(outcome(sent))
        rounds.append(sorted(map(json.dumps, seen)))  # a retry that waits, and a callback: whichever comes first
        seen.clear()
    worker.stop()
    dead = [letter.actor_name for letter in broker.dead_letters_by_queue["default"]]
    print(json.dumps({"seen": rounds, "outcomes": outcomes, "dead": dead}))


if __name__ == "__main__":
    main()

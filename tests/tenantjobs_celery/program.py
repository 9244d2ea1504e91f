"""A program on Celery that knows nothing of tenants: what it observes is the same with carriage and without.

``python -m tests.tenantjobs_celery.program bare|carried ENDING``: a worker of the solo pool works off what was sent
before, prints what came of it, and ends as ``ENDING`` says.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import json
import sys
from typing import Any

from celery import Celery, chain, chord, group, signals
from celery.exceptions import Ignore, Reject, WorkerShutdown

app = Celery("program", broker="memory://", backend="cache+memory://")
if sys.argv[1] == "carried":
    import tenantjobs_celery

    tenantjobs_celery.install(app, tenancy="optional", after_commit=True)
app.conf.update(result_extended=True, task_queue_max_priority=9, worker_redirect_stdouts=False)
seen: list[Any] = []


class Watching(app.Task):  # type: ignore[misc, name-defined]  # celery has no types
    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        seen.append(["before_start", self.name])

    def on_retry(self, exc: object, *_: object) -> None:
        seen.append(["on_retry", self.name, repr(exc)])

    def on_failure(self, exc: object, *_: object) -> None:
        seen.append(["on_failure", self.name, repr(exc)])

    def after_return(self, status: str, *_: object) -> None:
        seen.append(["after_return", self.name, status])


@app.task(base=Watching)
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(base=Watching, bind=True, max_retries=2, default_retry_delay=0, priority=5)
def flaky(self: Any) -> Any:
    request = self.request
    seen.append([request.retries, request.headers, request.delivery_info["priority"], request.timelimit])
    if request.retries < 2:
        raise self.retry(exc=ConnectionError("not yet"))
    return request.retries


@app.task(base=Watching, autoretry_for=(KeyError,), max_retries=1, retry_backoff=0, default_retry_delay=0)
def failing() -> None:
    raise KeyError("always")


@app.task(base=Watching, bind=True)
def replaced(self: Any) -> None:
    raise self.replace(add.s(1) | add.s())


@app.task(base=Watching)
def ending_with(what: str) -> None:
    raise {"ignore": Ignore(), "reject": Reject("no"), "value": ValueError(what)}[what]


@app.task
def errback(request: Any, exc: BaseException, traceback: object) -> None:
    seen.append(["errback", repr(exc)])


@app.task(bind=True)
def looking(self: Any) -> list[Any]:
    stable = ("task", "args", "kwargs", "retries", "headers", "delivery_info", "correlation_id", "is_eager")
    return [str(getattr(self.request, name, None)) for name in stable if name != "correlation_id"]


@app.task
def end(ending: str, rounds: int) -> None:
    """Behind whatever is sent in the meantime."""
    if rounds:
        end.delay(ending, rounds - 1)
        return
    raise {"shutdown": WorkerShutdown(0), "code": WorkerShutdown(3)}[ending]


for name in ("prerun", "postrun", "success", "failure", "retry"):

    def note(signal: Any, sender: Any, **given: Any) -> None:
        seen.append([signal.name, sender.name, sorted(given)])

    getattr(signals, f"task_{name}").connect(note, weak=False)


def send() -> list[Any]:
    return [
        add.delay(1),
        add.apply_async((1,), {"y": 5}, priority=9, headers={"color": "blue"}, time_limit=7, soft_time_limit=6),
        add.apply_async(("wrong",), link_error=errback.s()),
        flaky.apply_async(headers={"color": "blue"}),
        failing.delay(),
        replaced.delay(),
        *(ending_with.delay(what) for what in ("ignore", "reject", "value")),
        chain(add.s(1), add.s(2), add.s(3))(),
        group(add.s(1), add.s(2))(),
        chord([add.s(1), add.s(2)], app.signature("program.total"))(),
        add.map([1, 2]).delay(),
        add.chunks([(1, 1), (2, 2)], 1)(),
        looking.apply_async(headers={"color": "blue"}),
        add.apply((1,)),
        add.apply_async((1,), ignore_result=True),
    ]


@app.task(name="program.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


def outcome(result: Any) -> Any:
    if hasattr(result, "results"):
        return [outcome(each) for each in result.results]
    return [result.state, repr(result.result), getattr(result, "name", None), getattr(result, "retries", None)]


def main() -> None:
    sent = send()
    signatures = [repr(add.s(1) | add.s()), json.dumps(chord([add.s(1)], add.s()), sort_keys=True)]
    end.delay(sys.argv[2], 100)
    try:
        worker = app.Worker(pool="solo", loglevel="CRITICAL", without_gossip=True, without_mingle=True)
        worker.start()
        code = worker.exitcode
    finally:
        print(json.dumps({"seen": seen, "outcomes": [outcome(each) for each in sent], "signatures": signatures}))
    sys.exit(code)


if __name__ == "__main__":
    main()

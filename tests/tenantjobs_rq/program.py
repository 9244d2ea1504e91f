"""A program on RQ that knows nothing of tenants: what it observes is the same with carriage and without.

``python -m tests.tenantjobs_rq.program bare|carried QUEUE``: enqueues, works off what it has enqueued, and prints what
came of it.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import redis
from rq import Callback, Queue, Retry, get_current_job
from rq.job import Job, JobStatus
from rq.worker import SimpleWorker

from tests.services import REDIS

NAME = "tests.tenantjobs_rq.program"
seen: list[Any] = []


def add(x: int, y: int = 1) -> int:
    job: Any = get_current_job()
    seen.append(["add", job.description, job.meta, job.timeout, job.args, job.kwargs, job.is_failed])
    return x + y


async def add_async(x: int) -> int:
    return x + 1


def failing(what: str = "as asked for") -> None:
    seen.append(["failing"])
    raise KeyError(what)


def noting(number: int) -> None:
    job: Any = get_current_job()
    job.meta = {"progress": number}
    job.save_meta()


def exiting() -> None:
    raise SystemExit(3)


def on_success(job: Job, _connection: Any, result: Any) -> None:
    seen.append(["on_success", job.get_status(refresh=False), result])


def on_failure(job: Job, _connection: Any, kind: Any, error: Any, _traceback: Any) -> None:
    seen.append(["on_failure", job.get_status(refresh=False), kind.__name__, str(error)])


def broken_callback(*_: object) -> None:
    raise ValueError("of a callback")


def handler(job: Job, kind: Any, error: Any, _traceback: Any) -> bool:
    seen.append(["handler", job.func_name, kind.__name__, str(error)])
    return False


def send(queue: Queue) -> list[Job]:
    callbacks: Any = {"on_success": Callback(on_success), "on_failure": Callback(on_failure, timeout=7)}
    first = queue.enqueue(add, 1, y=2, description="mine", meta={"color": "blue"}, job_timeout=30, result_ttl=100)
    return [
        first,
        queue.enqueue(f"{NAME}.add", args=(1,), kwargs={"y": 5}, at_front=True, **callbacks),
        queue.enqueue(add_async, 1),
        queue.enqueue(failing, retry=Retry(max=2), **callbacks),
        queue.enqueue(failing, failure_ttl=100, on_failure=Callback(broken_callback)),
        queue.enqueue(add, 1, on_success=Callback(broken_callback)),
        queue.enqueue(add, "wrong", y=None),
        queue.enqueue(f"{NAME}.nowhere"),
        queue.enqueue(noting, 3),
        queue.enqueue(exiting, **callbacks),
        queue.enqueue(add, 1, depends_on=first),
        queue.enqueue_in(timedelta(hours=1), add, 1),
        queue.enqueue_at(datetime(2099, 1, 1, tzinfo=UTC), add, 1),
        *queue.enqueue_many([Queue.prepare_data(add, (1,), meta={"n": 1}), Queue.prepare_data(failing)]),
    ]


def outcome(job: Job) -> list[Any]:
    result = job.latest_result()
    told = None if result is None or result.exc_string is None else result.exc_string.splitlines()[-1]
    value = job.return_value(refresh=True)
    status = job.get_status()
    kept = [job.get_meta(), job.retries_left, job.timeout, job.result_ttl, job.failure_ttl, job.origin, job.func_name]
    return [str(status), value, told, status == JobStatus.FAILED and job.id in job.failed_job_registry, *kept]


def main(carried: bool, name: str) -> None:
    if carried:
        import tenantjobs_rq

        tenantjobs_rq.install(tenancy="optional", after_commit=True)
    with redis.Redis.from_url(REDIS) as connection:
        queue = Queue(name, connection=connection)
        sent = send(queue)
        worker = SimpleWorker([queue], connection=connection, exception_handlers=[handler])
        worked = worker.work(burst=True, logging_level="CRITICAL")
        counts = [worker.successful_job_count, worker.failed_job_count, queue.count]
        print(json.dumps({"seen": seen, "outcomes": [outcome(job) for job in sent], "worked": [worked, *counts]}))


if __name__ == "__main__":  # RQ takes no function of a module that is called so
    import_module(NAME).main(sys.argv[1] == "carried", sys.argv[2])

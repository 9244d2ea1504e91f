"""Errors, hooks and timeouts as users write them, with the exact types. Checked, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NoReturn, assert_type

import tenantjobs
from tenantjobs import (
    Abort,
    ErrorReporter,
    Handle,
    Job,
    JobContext,
    PartlyEnqueued,
    after_enqueue,
    around_enqueue,
    before_enqueue,
    before_perform,
    current_job,
    discard_on,
    job,
    later,
    limits_concurrency,
    perform_all_later,
    rescue_from,
    retry_on,
    unique,
)


def is_busy(error: BaseException) -> bool:
    return "busy" in str(error)


def give_up(job: JobContext, error: BaseException) -> None:
    tenantjobs.report(error, handled=False, context={"job": job.id})


def timed(user_id: int) -> Iterator[None]:
    yield


@discard_on(KeyError, then=give_up, report=True)
@job(
    timeout=timedelta(minutes=1),
    choose_priority=lambda user_id: 5 if user_id else None,
    policies=[
        retry_on(is_busy, wait=lambda executions, error: executions * 2.0, report=True, key="busy"),
        rescue_from(OSError, then=lambda error: None),
        before_enqueue(lambda user_id: None, if_=lambda user_id: user_id > 0),
        around_enqueue(timed),
        after_enqueue(print),
    ],
)
def send_welcome(user_id: int) -> str:
    return str(user_id)


class Sync(Job):
    timeout = 60

    @rescue_from(ValueError)
    def answer(self, error: ValueError) -> str:
        return str(error)

    @before_perform(if_=lambda job, size: size > 3)
    def check(self, size: int) -> None:
        raise Abort("too large")

    def choose_queue(self, size: int) -> str | None:
        return "huge" if size > 100 else None

    def choose_priority(self, size: int) -> int | None:
        return None

    def perform(self, size: int) -> float:
        running = current_job()
        assert running is not None
        if size:
            running.retry(wait=5, queue="slow")
        return 1.0


@unique("until_executed", key=lambda job, size: size, on_conflict="replace")
class Unique(Job):
    def perform(self, size: int) -> float:
        return size / 2


@unique("until_and_while_executing", ttl=timedelta(hours=1))
@job(policies=[unique("until_executing", ttl=60, on_conflict="raise")])
def once_at_a_time(user_id: int) -> str:
    return str(user_id)


@limits_concurrency(to=3, key=lambda job, size: size, group="storage", duration=timedelta(minutes=3), per_tenant=False)
class Limited(Job):
    def perform(self, size: int) -> float:
        return size / 2


@limits_concurrency(on_conflict="discard", duration=60)
@job
def limited(user_id: int) -> str:
    return str(user_id)


class Report:
    @later(timeout=5, policies=[retry_on(TimeoutError)])
    def export(self, path: str) -> None: ...

    export_later = later(export)


assert_type(send_welcome(1), str)
assert_type(send_welcome.perform_later(1), Handle)
assert_type(Sync.perform_now(3), float)
assert_type(Unique.perform_now(3), float)
assert_type(once_at_a_time.perform_now(1), str)
assert_type(Sync().answer(ValueError()), str)
assert_type(Sync().check(3), None)
assert_type(Report().export_later("/tmp/x"), Handle)


def to_the_tracker(error: BaseException, *, handled: bool, context: Mapping[str, Any]) -> None: ...


reporter: ErrorReporter = to_the_tracker
tenantjobs.configure(error_reporters=[reporter])


def again(running: JobContext) -> NoReturn:
    running.retry(wait_until=running.enqueued_at)


try:
    perform_all_later([send_welcome.call(1)])
except PartlyEnqueued as partly:
    assert_type([handle.enqueued for handle in partly.handles], list[bool | None])

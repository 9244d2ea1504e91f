"""The end of a job's time, raised inside of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tenantjobs import Interruption, Job, JobTimeout, around_perform, job, later, retry_on, testing
from tenantjobs.errors import ConfigurationError
from tenantjobs.execution import aexecute, execute
from tenantjobs.outcome import Failed, Finished, Retried
from tenantjobs.timeouts import TimeUp, _ThreadLimit, limited
from tests.tenantjobs.enqueued import enqueued

pytestmark = pytest.mark.usefixtures("memory", "acme")

seen: list[Any] = []
LONG = 30.0  # seconds that nothing here waits for


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()


def busy() -> None:
    """Work that goes on between bytecodes."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        time.sleep(0.001)


def test_a_job_that_runs_too_long_fails_with_a_timeout_that_names_it() -> None:
    @job(timeout=0.05, name="slow.report")
    def slow() -> None:
        try:
            busy()
        finally:
            seen.append("cleaned up")

    outcome = execute(enqueued(slow.perform_later))

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, JobTimeout)
    assert str(outcome.error) == "job slow.report ran longer than its timeout of 0.05 s"
    assert seen == ["cleaned up"]


def a_class() -> Any:
    class Slow(Job):
        timeout = timedelta(milliseconds=50)
        policies = (retry_on(TimeoutError, wait=0),)

        def perform(self) -> None:
            busy()

    return Slow.perform_later


def a_method() -> Any:
    class Model:
        @later(timeout=0.05, policies=[retry_on(JobTimeout, wait=0)])
        @classmethod
        def slow(cls) -> None:
            busy()

    seen.append(Model)
    return Model.slow_later  # type: ignore[attr-defined]  # planted


def an_async_function() -> Any:
    @job(timeout=0.05, policies=[retry_on(TimeoutError, wait=0)])
    async def slow() -> None:
        await asyncio.sleep(LONG)

    return slow.perform_later


def a_hook() -> Any:
    def around() -> Iterator[None]:
        busy()
        yield

    @job(timeout=0.05, policies=[retry_on(TimeoutError, wait=0), around_perform(around)])
    def slow() -> None: ...

    return slow.perform_later


@pytest.mark.parametrize("declare", [a_class, a_method, an_async_function, a_hook])
def test_a_timeout_can_be_retried_as_any_error(declare: Callable[[], Any]) -> None:
    outcome = execute(enqueued(declare()))

    assert isinstance(outcome, Retried)
    assert isinstance(outcome.error, JobTimeout)


def test_an_except_in_the_job_does_not_catch_it() -> None:
    @job(timeout=0.05)
    def stubborn() -> None:
        try:
            busy()
        except Exception:
            seen.append("caught")

    assert isinstance(execute(enqueued(stubborn.perform_later)), Failed)
    assert seen == []


def test_a_job_that_swallows_everything_counts_as_out_of_time_at_its_end() -> None:
    @job(timeout=0.05)
    def swallowing() -> None:
        try:
            busy()
        except BaseException:
            seen.append("swallowed")

    @job(timeout=0.05)
    async def aswallowing() -> None:
        try:
            await asyncio.sleep(LONG)
        except BaseException:
            seen.append("swallowed")

    for each in (swallowing, aswallowing):
        outcome = execute(enqueued(each.perform_later))
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, JobTimeout)
    assert seen == ["swallowed"] * 2


async def test_an_async_job_that_is_cancelled_from_outside_is_not_out_of_time() -> None:
    started = asyncio.Event()

    @job(timeout=LONG)
    async def waiting() -> None:
        started.set()
        await asyncio.sleep(LONG)

    task = asyncio.create_task(aexecute(enqueued(waiting.perform_later)))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_of_something_that_an_async_job_awaits_is_its_own() -> None:
    @job(timeout=LONG)
    async def impatient() -> None:
        await asyncio.wait_for(asyncio.sleep(LONG), 0.01)

    outcome = await aexecute(enqueued(impatient.perform_later))

    assert isinstance(outcome, Failed)
    assert not isinstance(outcome.error, JobTimeout)


async def test_perform_now_keeps_the_time_too() -> None:
    @job(timeout=0.05)
    def slow() -> None:
        busy()

    @job(timeout=0.05)
    async def aslow() -> None:
        await asyncio.sleep(LONG)

    with pytest.raises(JobTimeout):
        await asyncio.to_thread(slow.perform_now)
    with pytest.raises(JobTimeout):
        await aslow.perform_now()


def test_a_job_in_time_is_left_alone() -> None:
    @job(timeout=LONG)
    def quick() -> int:
        return 7

    assert execute(enqueued(quick.perform_later)) == Finished(7)


def test_an_interruption_stays_one_under_a_timeout() -> None:
    @job(timeout=LONG)
    def interrupted() -> None:
        raise Interruption

    interrupted.perform_later()
    with pytest.raises(Interruption):
        testing.drain()


def test_nothing_is_raised_in_a_thread_after_the_block_however_close_the_end_was() -> None:
    late: list[str] = []

    def work() -> None:
        try:
            for _ in range(300):
                with suppress(TimeUp), limited(0.0005):
                    end = time.perf_counter() + 0.0005
                    while time.perf_counter() < end:
                        pass
                for _ in range(50):
                    pass
        except TimeUp:
            late.append("late")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert late == []


def test_what_was_raised_at_the_last_moment_is_taken_back() -> None:
    raised: list[BaseException] = []
    limits: list[_ThreadLimit] = []
    made, go_on = threading.Lock(), threading.Lock()

    def work() -> None:
        try:
            limits.append(_ThreadLimit(LONG))
            made.release()
            go_on.acquire()  # waits in C: what is raised in this thread is still to come
        except TimeUp as error:
            raised.append(error)

    made.acquire()
    go_on.acquire()
    thread = threading.Thread(target=work)
    thread.start()
    made.acquire()
    time.sleep(0.05)  # for the thread to reach its wait
    limits[0]._raise()
    limits[0].stop()
    go_on.release()
    thread.join()

    assert limits[0].passed
    assert raised == []


def test_in_the_main_thread_a_call_that_blocks_is_ended_too_and_the_alarm_is_given_back() -> None:
    code = (
        "import signal, time\n"
        "from tenantjobs.timeouts import TimeUp, limited\n"
        "signal.signal(signal.SIGALRM, print)\n"
        "signal.alarm(1000)\n"
        "try:\n"
        "    with limited(0.05): time.sleep(3600)\n"
        "except TimeUp:\n"
        "    assert signal.getsignal(signal.SIGALRM) is print\n"
        "    assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] < 1000\n"
        "    print('ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "ended\n"


@pytest.mark.parametrize("timeout", [0, -1, True, "60", float("nan"), float("inf"), timedelta(0)])
def test_a_timeout_that_is_none_is_refused_when_it_is_declared(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout="):
        job(timeout=timeout)(lambda: None)

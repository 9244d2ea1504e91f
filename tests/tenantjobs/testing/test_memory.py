from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenantjobs import Current, job, retry_on, testing
from tenantjobs.errors import Interruption, JobGone, NoResult
from tenantjobs.testing import Clock, enqueued_jobs, perform_enqueued_jobs

pytestmark = pytest.mark.usefixtures("tenantjobs_test")


@pytest.fixture(autouse=True)
def acme() -> object:
    with Current.set(tenant_id="acme"):
        yield


@pytest.mark.parity("1a.36")
def test_drain_performs_what_the_jobs_enqueue_too_and_counts_attempts() -> None:
    @job
    def count(number: int) -> None:
        if number:
            count.perform_later(number - 1)

    count.perform_later(3)

    assert testing.drain() == 4
    assert testing.drain() == 0


def test_drain_leaves_what_is_scheduled_for_later() -> None:
    @job
    def note() -> None: ...

    note.set(wait=60).perform_later()

    assert testing.drain() == 0
    assert len(enqueued_jobs()) == 1


def test_drain_performs_retries_that_are_due() -> None:
    runs: list[int] = []

    @job(policies=[retry_on(ValueError, wait=0, attempts=3)])
    def flaky() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError

    flaky.perform_later()

    assert testing.drain() == 3


def test_what_fails_is_counted_and_kept_and_the_others_have_their_turn() -> None:
    runs: list[int] = []

    @job
    def note(number: int) -> None:
        runs.append(number)
        if number == 1:
            raise ValueError("boom")

    note.perform_later(1)
    note.perform_later(2)

    assert testing.drain() == 2
    assert runs == [1, 2]
    assert [(failed.job.args, str(failed.error)) for failed in testing.failed_jobs()] == [((1,), "boom")]


def test_an_interrupted_job_waits_again() -> None:
    @job
    def note() -> None:
        raise Interruption

    note.perform_later()
    with pytest.raises(Interruption):
        testing.drain()

    assert len(enqueued_jobs()) == 1


def test_nothing_waits_inline() -> None:
    with testing.override(adapter="inline"):
        assert testing.drain() == 0


@pytest.mark.parity("1a.36", "1a.37")
def test_what_is_asked_for_is_performed_once_and_what_it_enqueues_goes_on_waiting() -> None:
    seen: list[object] = []

    @job(queue="low")
    def count(number: int) -> None:
        seen.append(number)
        count.perform_later(number - 1)

    @job
    def other() -> None:
        seen.append("other")

    count.perform_later(3)
    other.perform_later()

    assert perform_enqueued_jobs(only=count) == 1
    assert perform_enqueued_jobs(except_=other, queue="low") == 1
    assert perform_enqueued_jobs(queue="mailers") == 0
    assert seen == [3, 2]
    assert perform_enqueued_jobs() == 2


def test_jobs_are_performed_as_of_a_moment() -> None:
    @job
    def note() -> None: ...

    note.set(wait=60).perform_later()
    moment = datetime.now(UTC) + timedelta(seconds=61)

    assert perform_enqueued_jobs() == 0
    assert perform_enqueued_jobs(at=moment) == 1


def test_the_clock_can_be_moved(tenantjobs_clock: Clock) -> None:
    runs: list[datetime] = []

    @job(policies=[retry_on(ValueError, wait=3600, attempts=2)])
    def flaky() -> None:
        runs.append(tenantjobs_clock.now)
        raise ValueError

    flaky.set(wait=60).perform_later()
    assert testing.drain() == 0
    tenantjobs_clock.move(timedelta(minutes=2))
    assert (testing.drain(), testing.drain()) == (1, 0)
    tenantjobs_clock.move_to(tenantjobs_clock.now + timedelta(hours=2))

    assert testing.drain() == 1
    assert runs[1] - runs[0] > timedelta(hours=1)


def test_the_clock_is_put_right() -> None:
    with testing.movable_clock() as clock:
        clock.move(3600)
        assert clock.now - datetime.now(UTC) > timedelta(minutes=59)
    assert abs(clock.now - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(testing.ConfigurationError, match="no time zone"):
        clock.move_to(datetime(2026, 1, 1))  # noqa: DTZ001  # the mistake under test


def test_what_a_job_returned_can_be_read_by_its_tenant_once_it_was_performed() -> None:
    @job(keep_result=True)
    def double(number: int) -> int:
        return 2 * number

    handle = double.perform_later(4)
    with pytest.raises(NoResult, match="is ready"):
        handle.result()
    testing.drain()

    assert handle.result() == 8
    with Current.switch("another tenant", tenant_id="globex"), pytest.raises(JobGone):
        handle.result()

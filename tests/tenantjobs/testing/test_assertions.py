from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenantjobs import Current, Job, job, testing
from tenantjobs.errors import ConfigurationError
from tenantjobs.testing import (
    assert_enqueued_jobs,
    assert_enqueued_with,
    assert_no_enqueued_jobs,
    assert_no_performed_jobs,
    assert_performed_jobs,
    assert_performed_with,
)

pytestmark = pytest.mark.usefixtures("tenantjobs_test")


@pytest.fixture(autouse=True)
def acme() -> object:
    with Current.set(tenant_id="acme"):
        yield


@job(queue="mailers")
def welcome(user_id: int) -> None: ...


class Export(Job):
    def perform(self, path: str) -> None: ...


@pytest.mark.parity("1a.37")
def test_an_enqueued_job_is_found_by_what_is_said_of_it() -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    handle = welcome.set(wait_until=moment).perform_later(7)
    Export.perform_later("/tmp/x")

    found = assert_enqueued_with(job=welcome, args=(7,), queue="mailers", at=moment, tenant="acme")

    assert found.id == handle.job_id
    assert assert_enqueued_with(job=Export).args == ("/tmp/x",)
    assert_enqueued_jobs(2)


@pytest.mark.parity("1a.37")
def test_a_failure_shows_what_was_enqueued_instead() -> None:
    welcome.perform_later(7)

    with pytest.raises(AssertionError, match=r"args=\(8,\)[\s\S]*welcome\(7,\) queue=mailers tenant=acme"):
        assert_enqueued_with(job=welcome, args=(8,))


@pytest.mark.parametrize(
    "wanted",
    [{"queue": "low"}, {"tenant": "globex"}, {"job": Export}, {"at": datetime.now(UTC)}],
)
@pytest.mark.parity("1a.37")
def test_each_part_of_the_description_counts(wanted: dict[str, object]) -> None:
    welcome.perform_later(7)

    with pytest.raises(AssertionError):
        assert_enqueued_with(**wanted)  # type: ignore[arg-type]  # one of several kinds


@pytest.mark.parity("1a.37")
def test_a_wrong_number_shows_what_waits() -> None:
    welcome.perform_later(7)

    with pytest.raises(AssertionError, match=r"2 enqueued jobs were expected, and 1 wait[\s\S]*welcome"):
        assert_enqueued_jobs(2)
    with pytest.raises(AssertionError):
        assert_no_enqueued_jobs()


@pytest.mark.parity("1a.37")
def test_what_is_no_job_gives_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="is no job"):
        assert_enqueued_with(job=print)


def test_the_assertions_say_so_on_another_adapter() -> None:
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match="adapter='test'"):
        assert_no_enqueued_jobs()


@pytest.mark.parity("1a.37")
def test_arguments_may_be_described_by_a_function_and_priority_counts() -> None:
    @job(name="tests.assertions.export")
    def export(path: str, *, pages: int) -> None: ...

    export.set(priority=7).perform_later(path="/tmp/x", pages=3)

    assert assert_enqueued_with(args=("/tmp/x",), kwargs={"pages": 3}, priority=7)
    assert assert_enqueued_with(kwargs=lambda kwargs: kwargs["pages"] > 2)
    for wanted in ({"priority": 8}, {"kwargs": lambda kwargs: False}, {"args": ("/tmp/y",)}, {"kwargs": {}}):
        with pytest.raises(AssertionError):
            assert_enqueued_with(**wanted)  # type: ignore[arg-type]  # one of several kinds


@pytest.mark.parity("1a.37")
def test_jobs_are_counted_by_name_and_queue() -> None:
    welcome.perform_later(7)
    Export.perform_later("/tmp/x")

    assert_enqueued_jobs(1, only=welcome)
    assert_enqueued_jobs(1, except_=[welcome])
    assert_enqueued_jobs(2, only=[welcome, Export])
    assert_enqueued_jobs(1, queue="mailers")
    assert_enqueued_jobs(2, queue=["mailers", "default"])
    assert_no_enqueued_jobs(queue="low")
    with pytest.raises(ConfigurationError, match="pass one of them"):
        assert_enqueued_jobs(1, only=welcome, except_=Export)


@pytest.mark.parity("1a.37")
def test_attempts_are_counted_and_a_failure_shows_how_they_ended() -> None:
    welcome.perform_later(7)
    assert_no_performed_jobs()
    testing.drain()

    assert_performed_jobs(1)
    assert_performed_jobs(1, only=welcome, queue="mailers")
    assert_no_performed_jobs(only=Export)
    with pytest.raises(AssertionError, match=r"2 performed jobs were expected, and 1[\s\S]*welcome.*: finished"):
        assert_performed_jobs(2)


@pytest.mark.parity("1a.37")
def test_a_moment_without_a_time_zone_is_refused() -> None:
    welcome.set(wait=60).perform_later(7)

    with pytest.raises(ConfigurationError, match="no time zone"):
        assert_enqueued_with(at=datetime(2026, 1, 1))  # noqa: DTZ001  # the mistake under test


@pytest.mark.parity("1a.37")
def test_an_attempt_is_found_by_its_job_and_how_it_ended() -> None:
    welcome.perform_later(7)
    Export.perform_later("/tmp/x")
    testing.perform_enqueued_jobs(only=welcome)

    assert assert_performed_with(job=welcome, args=(7,), tenant="acme", outcome="finished").job.queue == "mailers"
    for wrong in ({"job": Export}, {"args": (8,)}, {"outcome": "failed"}, {"queue": "low"}):
        with pytest.raises(AssertionError, match=r"performed with[\s\S]*welcome\(7,\).*: finished[\s\S]*Export"):
            assert_performed_with(**wrong)  # type: ignore[arg-type]

    assert_no_performed_jobs(only=Export)
    with pytest.raises(AssertionError, match="0 performed jobs were expected, and 1 were performed"):
        assert_no_performed_jobs()

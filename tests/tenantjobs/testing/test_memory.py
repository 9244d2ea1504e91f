from __future__ import annotations

import pytest

from tenantjobs import Current, job, retry_on, testing
from tenantjobs.errors import ConfigurationError
from tenantjobs.testing import enqueued_jobs

pytestmark = pytest.mark.usefixtures("tenantjobs_test")


@pytest.fixture(autouse=True)
def acme() -> object:
    with Current.set(tenant_id="acme"):
        yield


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


def test_a_failure_is_raised_after_the_others_have_had_their_turn() -> None:
    runs: list[int] = []

    @job
    def note(number: int) -> None:
        runs.append(number)
        if number == 1:
            raise ValueError("boom")

    note.perform_later(1)
    note.perform_later(2)

    with pytest.raises(ValueError, match="boom"):
        testing.drain()
    assert runs == [1, 2]


def test_draining_a_queue_that_cannot_be_drained_says_what_to_use() -> None:
    with testing.override(adapter="inline"), pytest.raises(ConfigurationError, match="'test' or 'db'"):
        testing.drain()

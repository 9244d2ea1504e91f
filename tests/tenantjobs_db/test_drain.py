from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import StaticPool, create_engine, text

from tenantjobs import Current, job, retry_on, testing
from tenantjobs.errors import Interruption
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tests.tenantjobs_db.making import envelope


def test_drain_performs_what_is_due_and_counts_every_attempt(adapter: DatabaseAdapter) -> None:
    attempts: list[str | None] = []

    @job(policies=[retry_on(ValueError, wait=0, attempts=3)])
    def flaky() -> None:
        attempts.append(Current.tenant_id)
        if len(attempts) < 3:
            raise ValueError

    with Current.set(tenant_id="acme"):
        flaky.perform_later()
    flaky.set(wait=timedelta(hours=1)).perform_later()

    assert testing.drain() == 3
    assert attempts == ["acme"] * 3
    assert adapter.queue.counts() == {"finished": 1, "scheduled": 1}
    assert testing.drain() == 0


def test_drain_performs_what_the_jobs_enqueue(adapter: DatabaseAdapter) -> None:
    seen: list[int] = []

    @job
    def count(number: int) -> None:
        seen.append(number)
        if number:
            count.perform_later(number - 1)

    count.perform_later(3)

    assert testing.drain() == 4
    assert seen == [3, 2, 1, 0]


def test_a_job_may_cancel_one_that_waits_behind_it(adapter: DatabaseAdapter) -> None:
    seen: list[str] = []

    @job
    def first(other: str) -> None:
        seen.append("first")
        adapter.cancel(other)

    @job
    def second() -> None:
        seen.append("second")

    handle = second.set(priority=5).perform_later()
    first.perform_later(handle.job_id)

    assert testing.drain() == 1
    assert seen == ["first"]


async def test_drain_performs_async_jobs_also_inside_a_running_loop(adapter: DatabaseAdapter) -> None:
    seen: list[int] = []

    @job
    async def note(number: int) -> None:
        seen.append(number)

    await note.aperform_later(1)

    assert testing.drain() == 1
    assert seen == [1]


def test_failed_and_unknown_jobs_stay_for_someone_to_look_at(adapter: DatabaseAdapter) -> None:
    @job
    def fails() -> None:
        raise ValueError

    fails.perform_later()
    adapter.enqueue(envelope(name="no.such.job"))

    assert testing.drain() == 1
    assert adapter.queue.counts() == {"failed": 1, "quarantined": 1}


def test_an_interrupted_job_is_not_tried_again_by_the_same_drain(adapter: DatabaseAdapter) -> None:
    @job
    def interrupted() -> None:
        raise Interruption

    interrupted.perform_later()

    assert testing.drain() == 0
    assert adapter.queue.counts() == {"ready": 1}


def test_what_is_meant_for_the_test_reaches_it_and_the_job_goes_back(adapter: DatabaseAdapter) -> None:
    @job
    def stops() -> None:
        raise KeyboardInterrupt

    stops.perform_later()

    with pytest.raises(KeyboardInterrupt):
        testing.drain()

    assert adapter.queue.counts() == {"ready": 1}
    with adapter.database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM tj_processes")).scalar() == 0


def test_drain_works_in_the_memory_of_the_applications_engine(registry: object) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    schema.upgrade(engine)
    seen: list[int] = []

    @job
    def note(number: int) -> None:
        seen.append(number)

    with testing.override(adapter="db", tenancy="optional", db={"engine": engine}):
        note.perform_later(1)

        assert testing.drain() == 1
    assert seen == [1]
    engine.dispose()


def test_drain_works_in_memory_of_its_own(registry: object) -> None:
    seen: list[int] = []

    @job
    def note(number: int) -> None:
        seen.append(number)

    with testing.override(adapter="db", tenancy="optional", db={"url": "sqlite://"}):
        note.perform_later(1)

        assert testing.drain() == 1
    assert seen == [1]

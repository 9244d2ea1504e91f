"""Jobs with steps, and jobs that tell their progress, on a worker of the database queue."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from tenantjobs import Progress, current_job, job, step
from tenantjobs.adapter import WorkOptions
from tenantjobs.bookmark import Bookmark
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.testing import drain
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.tables import jobs, progress
from tenantjobs_db.telling import Telling
from tenantjobs_db.worker import Worker
from tests.tenantjobs_db.test_worker import drained, found


@pytest.mark.parity("1a.31")
@pytest.mark.timeout(60)
def test_a_worker_that_stops_interrupts_a_job_at_its_checkpoint_and_another_one_goes_on(
    adapter: DatabaseAdapter,
) -> None:
    seen: list[Any] = []
    begun, stopped = threading.Event(), threading.Event()

    @job
    def count() -> None:
        running = current_job()
        assert running is not None
        for cursor in step("count", start=0):
            for number in range(cursor.value, 3):
                seen.append((running.attempt, running.resumptions, number))
                begun.set()
                assert stopped.wait(20)
                cursor.advance()

    handle = count.perform_later()
    worker = Worker(adapter.database, adapter.settings, WorkOptions(polling_interval=0.02, shutdown_timeout=20))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    assert begun.wait(20)
    worker.stop()
    stopped.set()
    thread.join(20)

    assert seen == [(1, 0, 0)]
    assert (found(adapter, handle.job_id).state, found(adapter, handle.job_id).attempt) == ("ready", 0)

    drained(adapter)

    assert seen == [(1, 0, 0), (1, 1, 1), (1, 1, 2)]
    assert (found(adapter, handle.job_id).state, found(adapter, handle.job_id).attempt) == ("finished", 1)


def test_a_job_that_ends_without_a_verdict_keeps_its_steps(adapter: DatabaseAdapter) -> None:
    @job
    def leave() -> None:
        for _ in step("first"):
            pass
        raise KeyboardInterrupt

    handle = leave.perform_later()
    drained(adapter)
    row = found(adapter, handle.job_id)

    assert (row.state, Envelope.decode(row.data).bookmark) == ("failed", Bookmark(("first",)))


def test_the_progress_of_a_job_is_readable_from_outside_while_it_runs(adapter: DatabaseAdapter) -> None:
    begun, seen = threading.Event(), threading.Event()

    @job
    def count() -> None:
        running = current_job()
        assert running is not None
        running.progress(1, 4)
        running.progress(2, 4)
        begun.set()
        assert seen.wait(20)
        running.progress(4, 4)

    handle = count.perform_later()

    assert handle.progress() is None

    thread = threading.Thread(target=drained, args=(adapter,), daemon=True)
    thread.start()
    assert begun.wait(20)
    pause = threading.Event()
    while handle.progress() is None:
        pause.wait(0.02)

    assert handle.progress() == Progress(2, 4)

    seen.set()
    thread.join(20)

    assert handle.progress() == Progress(4, 4)


def test_a_job_may_not_know_the_total(adapter: DatabaseAdapter) -> None:
    @job
    def count() -> None:
        running = current_job()
        assert running is not None
        running.progress(0.5)

    handle = count.perform_later()
    drain()

    assert handle.progress() == Progress(0.5)


@pytest.mark.parametrize("wrong", [(-1, None), (1, "all"), (float("nan"), 3), (True, 1)])
def test_what_is_no_progress_fails_the_job(adapter: DatabaseAdapter, wrong: Any) -> None:
    errors: list[ConfigurationError] = []

    @job
    def count() -> None:
        running = current_job()
        assert running is not None
        with pytest.raises(ConfigurationError, match="a number from 0 on is wanted") as error:
            running.progress(*wrong)
        errors.append(error.value)

    count.perform_later()
    drain()

    assert len(errors) == 1


def test_the_progress_of_a_job_is_forgotten_with_it(adapter: DatabaseAdapter) -> None:
    @job
    def count() -> None:
        running = current_job()
        assert running is not None
        running.progress(1)

    kept, forgotten = count.perform_later(), count.perform_later()
    drain()
    with adapter.database.begin() as connection:
        connection.execute(delete(jobs).where(jobs.c.id == forgotten.job_id))
    Telling(adapter.database).prune()

    assert kept.progress() == Progress(1)
    with adapter.database.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(progress)) == 1

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tenantjobs import job
from tenantjobs.adapter import WorkOptions
from tenantjobs_db import memory, recycling
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.recycling import Limits, Recycling
from tenantjobs_db.worker import Worker


def test_a_worker_without_limits_stays() -> None:
    stays = Recycling(Limits())
    stays.started(10_000)

    assert (stays.due(), stays.jobs_left) == (None, None)


def test_it_goes_after_so_many_jobs() -> None:
    goes = Recycling(Limits(max_jobs=3))
    goes.started(2)

    assert (goes.due(), goes.jobs_left) == (None, 1)
    goes.started(1)
    assert "3 jobs (max_jobs)" in str(goes.due())


def test_it_goes_at_its_age_or_a_little_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    goes = Recycling(Limits(max_age=100))
    now = time.monotonic()

    monkeypatch.setattr(recycling.time, "monotonic", lambda: now + 85)
    assert goes.due() is None
    monkeypatch.setattr(recycling.time, "monotonic", lambda: now + 101)
    assert "(max_age)" in str(goes.due())


def test_it_goes_when_it_has_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "MEMORY_LOOK", 0)

    assert Recycling(Limits(max_memory=2**40)).due() is None
    assert "(max_memory)" in str(Recycling(Limits(max_memory=2**20)).due())


def test_the_memory_of_this_process_is_known() -> None:
    before = memory.resident()
    held = bytearray(b"x" * 50_000_000)

    assert memory.is_measurable()
    assert memory.resident() - before > 40_000_000
    del held


def test_a_worker_starts_no_more_than_its_last_job_asks_for_another_and_finishes_what_runs(
    adapter: DatabaseAdapter,
) -> None:
    asked, release = threading.Event(), threading.Event()

    @job
    def held(number: int) -> None:
        release.wait(10)

    for number in range(5):
        held.perform_later(number)
    options = WorkOptions(threads=3, polling_interval=0.02)
    worker = Worker(
        adapter.database, adapter.settings, options, recycling=Recycling(Limits(max_jobs=2)), retire=asked.set
    )
    codes: list[Any] = []
    thread = threading.Thread(target=lambda: codes.append(worker.run()))
    thread.start()

    assert asked.wait(10)
    assert adapter.queue.counts() == {"claimed": 2, "ready": 3}
    release.set()
    thread.join(10)
    assert codes == [0]
    assert adapter.queue.counts() == {"finished": 2, "ready": 3}

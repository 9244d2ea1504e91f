from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantjobs import testing
from tenantjobs_db.adapter import DatabaseAdapter
from tests.tenantjobs_db.hanging import sleep


class Site:
    """A file, its queue, and a worker process."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'queue.db'}"
        self.started = folder / "started"
        self.adapter = DatabaseAdapter(DatabaseAdapter.Settings(url=self.url))
        self.worker: subprocess.Popen[str] | None = None

    def enqueue(self, seconds: float) -> None:
        with testing.override(adapter="db", tenancy="optional", db={"url": self.url}):
            sleep.perform_later(str(self.started), seconds)

    def start(self, shutdown_timeout: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.tenantjobs_db.hanging", self.url, str(shutdown_timeout)]
        self.worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 20
        while not self.started.exists():
            assert time.monotonic() < until, self.worker.poll()
            time.sleep(0.01)
        return self.worker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    if site.worker is not None:
        site.worker.kill()
        site.worker.communicate()
    site.adapter.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_worker_finish_what_runs(site: Site, number: signal.Signals) -> None:
    site.enqueue(0.3)
    worker = site.start(shutdown_timeout=10)
    site.enqueue(0)

    worker.send_signal(number)
    _, log = worker.communicate(timeout=10)

    assert worker.returncode == 0
    assert site.adapter.queue.counts().get("finished", 0) >= 1
    assert "claimed" not in site.adapter.queue.counts()
    assert "has stopped" in log


@pytest.mark.parametrize(("timeout", "signals"), [(0.2, 1), (60, 2)])
def test_a_job_that_hangs_is_given_back_and_does_not_keep_the_process(site: Site, timeout: float, signals: int) -> None:
    site.enqueue(60)
    worker = site.start(timeout)

    for _ in range(signals):
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    _, log = worker.communicate(timeout=10)

    assert worker.returncode == 1
    assert site.adapter.queue.counts() == {"ready": 1}
    assert "given back" in log

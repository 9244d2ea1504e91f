"""An application for a worker process of its own: jobs that end, or do not, when they are told to."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from tenantjobs import job, testing
from tenantjobs.adapter import WorkOptions
from tenantjobs_db.adapter import DatabaseAdapter


@job(name="hanging.sleep")
def sleep(started: str, seconds: float) -> None:
    Path(started).touch()
    time.sleep(seconds)


def work(url: str, shutdown_timeout: float) -> None:
    """Run a worker as ``tenantjobs work`` does."""
    from tenantjobs import adapter

    logging.basicConfig(level=logging.INFO)
    with testing.override(adapter="db", tenancy="optional", db={"url": url}):
        configured = adapter.configured()
        assert isinstance(configured, DatabaseAdapter)
        sys.exit(configured.work(WorkOptions(shutdown_timeout=shutdown_timeout, polling_interval=0.02)))


if __name__ == "__main__":
    work(sys.argv[1], float(sys.argv[2]))

"""A job that waits in a call which nothing but an alarm can interrupt."""

from __future__ import annotations

import time

from tenantjobs import current_job, job, retry_on
from tenantjobs.testing.contract.effects import record


@job(name="rq.blocked", timeout=0.5, policies=[retry_on(TimeoutError, wait=0)])
def blocked() -> None:
    record("blocked")
    running = current_job()
    assert running is not None
    if running.attempt == 1:
        time.sleep(3600)

"""The application whose queue is swapped: each job leaves a trace, with the part of the command that performed it."""

from __future__ import annotations

import os
import sys
import time

import tenantjobs
from tenantjobs import current_job, job, retry_on
from tenantjobs.testing.contract.effects import record

tenantjobs.configure(tenant_locator=str)
QUEUE = os.environ["SWAP_QUEUE"]


@job(queue=QUEUE)
def note(label: str) -> None:
    record(label, _performer())


@job(queue=QUEUE)
def not_before(label: str, moment: float) -> None:
    record(label if time.time() >= moment else f"{label}, too early", _performer())


@job(queue=QUEUE, policies=[retry_on(ConnectionError, wait=[2, 1], attempts=3)])
def third_time_lucky(label: str) -> None:
    record(label, _performer())
    running = current_job()
    if running is not None and running.attempt < 3:
        raise ConnectionError("not yet")


def _performer() -> str:
    """What follows ``--from`` on the command line of the worker."""
    return sys.argv[sys.argv.index("--from") + 1] if "--from" in sys.argv else "the only worker"

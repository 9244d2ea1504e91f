"""The application behind the gate: each job leaves a trace."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import tenantjobs
from tenantjobs import job, retry_on
from tenantjobs.testing.contract.effects import FOLDER, record

tenantjobs.configure(tenant_locator=str)
QUEUE = os.environ["SWAP_QUEUE"]


@job(queue=QUEUE)
def note(label: str) -> None:
    record(label)


@job(queue=QUEUE, policies=[retry_on(ConnectionError, wait=0.1, attempts=3)])
def third_time_lucky() -> None:
    running = tenantjobs.current_job()
    record("tried")
    if running is not None and running.attempt < 3:
        raise ConnectionError("not yet")


@job(queue=QUEUE)
def deadly() -> None:
    """Kills its process the first time."""
    grave = Path(os.environ[FOLDER]) / "grave"
    if not grave.exists():
        grave.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    record("survived")

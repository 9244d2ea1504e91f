"""The one native job that performs every job of ours."""

from __future__ import annotations

from rq import get_current_job

from tenantjobs import execution, runtime

NAME = f"{__name__}.perform"  # what RQ stores: a worker that cannot import it fails the job


def perform(data: str) -> None:
    """What becomes of the job is decided inside. RQ gets to know of failures, and never of values to store."""
    runtime.load_app()
    try:
        execution.perform(data)
    except Exception:
        # The verdict has been given, and is final. RQ's own retry is for the jobs of processes that died: those are
        # counted by the worker, which has the job in its own memory or in Redis.
        running = get_current_job()
        if running is not None:
            running.retries_left = 0
        raise

"""The one native job that performs every job of ours."""

from __future__ import annotations

from rq import Worker, get_current_job

from tenantjobs import execution, gate, runtime

NAME = f"{__name__}.perform"  # what RQ stores: a worker that cannot import it fails the job


def perform(data: str) -> None:
    """What becomes of the job is decided inside. RQ gets to know of failures, and never of values to store."""
    runtime.load_app()
    try:
        execution.perform(data, stopping=_stopping)
    except Exception:
        # The verdict has been given, and is final. RQ's own retry is for the jobs of processes that died: those are
        # counted by the worker, which has the job in its own memory or in Redis.
        running = get_current_job()
        if running is not None:
            running.retries_left = 0
        raise
    finally:
        gate.leave()  # a process of RQ performs one job, and is ended without a word


def _stopping() -> bool:
    """Whether the worker was asked to stop. It tells Redis, and this process, its child, nothing."""
    running = get_current_job()
    if running is None or not running.worker_name:
        return False
    worker = f"{Worker.redis_worker_namespace_prefix}{running.worker_name}"
    return running.connection.hget(worker, "shutdown_requested_date") is not None

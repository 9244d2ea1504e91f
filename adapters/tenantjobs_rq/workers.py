"""What workers do about a job outside of it, in its scope; and the workers that would lose it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import rq.worker
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.version import VERSION
from rq.worker import Worker

from tenantjobs.errors import ConfigurationError
from tenantjobs_rq import covering
from tenantjobs_rq.jobs import delivery

_AROUND_THE_JOB = ("handle_exception", "handle_work_horse_killed")


def cover() -> None:
    """Every worker of this process from now on."""
    for name in _AROUND_THE_JOB:
        covering.cover(next(cls for cls in Worker.__mro__ if name in vars(cls)), name, _in_scope)
    covering.cover(StartedJobRegistry, "cleanup", _abandoned)
    spawning: Any = getattr(rq.worker, "SpawnWorker", None)
    if spawning is not None and VERSION.startswith("2."):
        spawning.work = _refuse


def _in_scope(original: Callable[..., Any]) -> Callable[..., Any]:
    """A handler of the user that is called with a job."""

    @wraps(original)
    def handle(worker: Any, job: Job, *args: Any, **kwargs: Any) -> Any:
        with delivery(job):
            return original(worker, job, *args, **kwargs)

    return handle


def _abandoned(original: Callable[..., None]) -> Callable[..., None]:
    """Where a worker looks for jobs whose worker has died, which it tells its handlers of."""

    @wraps(original)
    def cleanup(registry: Any, timestamp: float | None = None, exception_handlers: list[Any] | None = None) -> None:
        original(registry, timestamp, [_handling(handler) for handler in exception_handlers or ()])

    return cleanup


def _handling(handler: Callable[..., Any]) -> Callable[..., Any]:
    def handle(job: Job, *error: Any) -> Any:
        with delivery(job):
            return handler(job, *error)

    return handle


def _refuse(_worker: Any, *_args: Any, **_kwargs: Any) -> bool:
    raise ConfigurationError(
        f"SpawnWorker of RQ {VERSION} performs jobs in a process that knows neither the worker's classes nor "
        "tenantjobs, so they would run without their tenant: upgrade to RQ 3, or take rq.Worker or rq.SimpleWorker"
    )

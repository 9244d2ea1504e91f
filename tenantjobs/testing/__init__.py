"""What tests of an application need: perform what was enqueued, swap the configuration, ask what is waiting."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tenantjobs import adapter, runtime
from tenantjobs.adapter import Drains
from tenantjobs.errors import ConfigurationError
from tenantjobs.runtime import override
from tenantjobs.testing.assertions import (
    assert_enqueued_jobs,
    assert_enqueued_with,
    assert_no_enqueued_jobs,
    assert_no_performed_jobs,
    assert_performed_jobs,
    assert_performed_with,
)
from tenantjobs.testing.interrupting import interrupt_job_after_step, interrupt_job_during_step
from tenantjobs.testing.memory import (
    EnqueuedJob,
    FailedJob,
    MemoryAdapter,
    PerformedJob,
    enqueued_jobs,
    failed_jobs,
    perform_enqueued_jobs,
    performed_jobs,
    stopping,
)
from tenantjobs.testing.time import Clock, movable_clock

if TYPE_CHECKING:
    from tenantjobs.testing.contract import AdapterContract

__all__ = [
    "AdapterContract",
    "Clock",
    "EnqueuedJob",
    "FailedJob",
    "MemoryAdapter",
    "PerformedJob",
    "assert_enqueued_jobs",
    "assert_enqueued_with",
    "assert_no_enqueued_jobs",
    "assert_no_performed_jobs",
    "assert_performed_jobs",
    "assert_performed_with",
    "drain",
    "enqueued_jobs",
    "failed_jobs",
    "interrupt_job_after_step",
    "interrupt_job_during_step",
    "movable_clock",
    "override",
    "perform_enqueued_jobs",
    "performed_jobs",
    "stopping",
]


def drain() -> int:
    """Perform everything that is due in the configured adapter, here, until nothing is; the number of attempts.

    Every job goes through the real dump and load. What is scheduled for later stays; what fails is logged and kept
    (``failed_jobs()``, or the tables of the database queue).
    """
    configured = adapter.configured()
    if not isinstance(configured, Drains):
        raise ConfigurationError(
            f"the adapter {runtime.settings().adapter!r} cannot be drained in this process: its own workers perform "
            f"its jobs. Use adapter 'test' or 'db' in tests"
        )
    return configured.drain()


def __getattr__(name: str) -> Any:
    # The kit needs pytest, which applications that only drain do not have.
    if name == "AdapterContract":
        return import_module("tenantjobs.testing.contract").AdapterContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

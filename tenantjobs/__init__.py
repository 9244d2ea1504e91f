"""Multi-tenant context and conventions for job queues: the tenant travels with the job, or the job stops."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenantjobs.adapter import Adapter, Capabilities
    from tenantjobs.batches import Batch, BatchState, current_batch
    from tenantjobs.blocks import batch
    from tenantjobs.call import Call
    from tenantjobs.chains import Chain, chain
    from tenantjobs.config import configure
    from tenantjobs.conventions import later
    from tenantjobs.current import Current, attribute
    from tenantjobs.cursor import AsyncCursor, Cursor
    from tenantjobs.effects import once
    from tenantjobs.envelope import Envelope
    from tenantjobs.errors import (
        Abort,
        ArgumentError,
        BadSignature,
        BrokenExport,
        ConfigurationError,
        CrossTenantSwitch,
        DuplicateJob,
        EnqueueError,
        EnvelopeError,
        Interruption,
        JobGone,
        JobTimeout,
        LeaseLost,
        LedgerUnavailable,
        LimitReached,
        NoResult,
        PartlyEnqueued,
        RecordGone,
        RecordUnavailable,
        SerializationError,
        StepError,
        TenancyError,
        TenantBusy,
        TenantClosed,
        TenantGone,
        TenantjobsError,
        TenantMissing,
        TenantUnavailable,
        UnknownJob,
        UnknownVersion,
        UnsupportedCapability,
        WrongState,
        WrongTenant,
    )
    from tenantjobs.execution import aperform, perform
    from tenantjobs.handle import Handle
    from tenantjobs.handlers import discard_on, rescue_from, retry_on
    from tenantjobs.hooks import (
        after_discard,
        after_enqueue,
        after_perform,
        around_enqueue,
        around_perform,
        before_enqueue,
        before_perform,
        guard,
    )
    from tenantjobs.idempotency import Ledger, idempotent
    from tenantjobs.identity import GlobalId, Locator
    from tenantjobs.instrumentation import subscribe
    from tenantjobs.jobs import Job, JobFunction, aperform_all_later, job, perform_all_later
    from tenantjobs.limits import limits_concurrency
    from tenantjobs.progress import Progress
    from tenantjobs.rates import limits_rate
    from tenantjobs.reporting import ErrorReporter, report
    from tenantjobs.running import JobContext, current_job
    from tenantjobs.snapshot import Snapshot
    from tenantjobs.steps import step
    from tenantjobs.stored import Handled, StoredJobs, stored_jobs
    from tenantjobs.transaction import on_commit
    from tenantjobs.uniqueness import unique
    from tenantjobs.view import JobView

__version__ = "0.1.0"

# What is public, and the module that it is loaded from on first use: `import tenantjobs` alone costs next to nothing,
# so that a process that only enqueues, or only prints its help, pays for what it touches (docs/decisions/0005).
_HOMES = {
    "current": (
        "Current",
        "attribute",
    ),
    "snapshot": ("Snapshot",),
    "config": ("configure",),
    "call": ("Call",),
    "effects": ("once",),
    "handle": ("Handle",),
    "jobs": (
        "Job",
        "JobFunction",
        "aperform_all_later",
        "job",
        "perform_all_later",
    ),
    "running": (
        "JobContext",
        "current_job",
    ),
    "conventions": ("later",),
    "cursor": (
        "AsyncCursor",
        "Cursor",
    ),
    "progress": ("Progress",),
    "steps": ("step",),
    "stored": (
        "Handled",
        "StoredJobs",
        "stored_jobs",
    ),
    "view": ("JobView",),
    "transaction": ("on_commit",),
    "handlers": (
        "discard_on",
        "rescue_from",
        "retry_on",
    ),
    "hooks": (
        "after_discard",
        "after_enqueue",
        "after_perform",
        "around_enqueue",
        "around_perform",
        "before_enqueue",
        "before_perform",
        "guard",
    ),
    "reporting": (
        "ErrorReporter",
        "report",
    ),
    "idempotency": (
        "Ledger",
        "idempotent",
    ),
    "uniqueness": ("unique",),
    "limits": ("limits_concurrency",),
    "rates": ("limits_rate",),
    "instrumentation": ("subscribe",),
    "batches": (
        "Batch",
        "BatchState",
        "current_batch",
    ),
    "blocks": ("batch",),
    "chains": (
        "Chain",
        "chain",
    ),
    "adapter": (
        "Adapter",
        "Capabilities",
    ),
    "envelope": ("Envelope",),
    "execution": (
        "aperform",
        "perform",
    ),
    "identity": (
        "GlobalId",
        "Locator",
    ),
    "errors": (
        "Abort",
        "ArgumentError",
        "BadSignature",
        "BrokenExport",
        "ConfigurationError",
        "CrossTenantSwitch",
        "DuplicateJob",
        "EnqueueError",
        "EnvelopeError",
        "Interruption",
        "JobGone",
        "JobTimeout",
        "LeaseLost",
        "LedgerUnavailable",
        "LimitReached",
        "NoResult",
        "PartlyEnqueued",
        "RecordGone",
        "RecordUnavailable",
        "SerializationError",
        "StepError",
        "TenancyError",
        "TenantBusy",
        "TenantClosed",
        "TenantGone",
        "TenantMissing",
        "TenantUnavailable",
        "TenantjobsError",
        "UnknownJob",
        "UnknownVersion",
        "UnsupportedCapability",
        "WrongState",
        "WrongTenant",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = frozenset({"http", "instrumentation", "logs", "schedules", "sentinel", "testing"})

__all__ = [
    # context
    "Current",
    "Snapshot",
    "attribute",
    "configure",
    # jobs
    "AsyncCursor",
    "Batch",
    "BatchState",
    "Call",
    "Chain",
    "Cursor",
    "Handle",
    "Job",
    "JobContext",
    "JobFunction",
    "Progress",
    "aperform_all_later",
    "batch",
    "chain",
    "current_batch",
    "current_job",
    "job",
    "later",
    "on_commit",
    "perform_all_later",
    "report",
    "step",
    "subscribe",
    # what is in the queue
    "Handled",
    "JobView",
    "StoredJobs",
    "stored_jobs",
    # declarations
    "after_discard",
    "after_enqueue",
    "after_perform",
    "around_enqueue",
    "around_perform",
    "before_enqueue",
    "before_perform",
    "discard_on",
    "guard",
    "idempotent",
    "limits_concurrency",
    "limits_rate",
    "once",
    "rescue_from",
    "retry_on",
    "unique",
    # for workers and adapters
    "Adapter",
    "Capabilities",
    "Envelope",
    "ErrorReporter",
    "GlobalId",
    "Ledger",
    "Locator",
    "aperform",
    "perform",
    # errors
    "Abort",
    "ArgumentError",
    "BadSignature",
    "BrokenExport",
    "ConfigurationError",
    "CrossTenantSwitch",
    "DuplicateJob",
    "EnqueueError",
    "EnvelopeError",
    "Interruption",
    "JobGone",
    "JobTimeout",
    "LeaseLost",
    "LedgerUnavailable",
    "LimitReached",
    "NoResult",
    "PartlyEnqueued",
    "RecordGone",
    "RecordUnavailable",
    "SerializationError",
    "StepError",
    "TenancyError",
    "TenantBusy",
    "TenantClosed",
    "TenantGone",
    "TenantMissing",
    "TenantUnavailable",
    "TenantjobsError",
    "UnknownJob",
    "UnknownVersion",
    "UnsupportedCapability",
    "WrongState",
    "WrongTenant",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"tenantjobs.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'tenantjobs' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"tenantjobs.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])

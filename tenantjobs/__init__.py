"""Multi-tenant context and conventions for job queues: the tenant travels with the job, or the job stops."""

from __future__ import annotations

from tenantjobs.adapter import Adapter, Capabilities
from tenantjobs.config import configure
from tenantjobs.conventions import later
from tenantjobs.current import Current, Snapshot, attribute
from tenantjobs.enqueuing import Call
from tenantjobs.envelope import Envelope
from tenantjobs.errors import (
    ArgumentError,
    BadSignature,
    ConfigurationError,
    CrossTenantSwitch,
    DuplicateJob,
    EnqueueError,
    EnvelopeError,
    Interruption,
    JobTimeout,
    LeaseLost,
    RecordGone,
    RecordUnavailable,
    SerializationError,
    StepError,
    TenancyError,
    TenantGone,
    TenantjobsError,
    TenantMissing,
    TenantUnavailable,
    UnknownJob,
    UnknownVersion,
    UnsupportedCapability,
    WrongTenant,
)
from tenantjobs.execution import aperform, perform
from tenantjobs.handle import Handle
from tenantjobs.idempotency import Ledger, idempotent
from tenantjobs.identity import GlobalId, Locator
from tenantjobs.job import JobContext, current_job
from tenantjobs.jobs import Job, JobFunction, aperform_all_later, job, perform_all_later
from tenantjobs.policies import (
    after_discard,
    after_perform,
    around_perform,
    before_perform,
    discard_on,
    guard,
    retry_on,
)
from tenantjobs.transaction import on_commit

__version__ = "0.1.0"

__all__ = [
    # context
    "Current",
    "Snapshot",
    "attribute",
    "configure",
    # jobs
    "Call",
    "Handle",
    "Job",
    "JobContext",
    "JobFunction",
    "aperform_all_later",
    "current_job",
    "job",
    "later",
    "on_commit",
    "perform_all_later",
    # declarations
    "after_discard",
    "after_perform",
    "around_perform",
    "before_perform",
    "discard_on",
    "guard",
    "idempotent",
    "retry_on",
    # for workers and adapters
    "Adapter",
    "Capabilities",
    "Envelope",
    "GlobalId",
    "Ledger",
    "Locator",
    "aperform",
    "perform",
    # errors
    "ArgumentError",
    "BadSignature",
    "ConfigurationError",
    "CrossTenantSwitch",
    "DuplicateJob",
    "EnqueueError",
    "EnvelopeError",
    "Interruption",
    "JobTimeout",
    "LeaseLost",
    "RecordGone",
    "RecordUnavailable",
    "SerializationError",
    "StepError",
    "TenancyError",
    "TenantGone",
    "TenantMissing",
    "TenantUnavailable",
    "TenantjobsError",
    "UnknownJob",
    "UnknownVersion",
    "UnsupportedCapability",
    "WrongTenant",
]

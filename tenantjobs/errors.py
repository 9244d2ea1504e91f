"""Every error of tenantjobs, under one root.

TenantjobsError
├── ConfigurationError
├── TenancyError
│   ├── TenantMissing
│   ├── CrossTenantSwitch
│   ├── WrongTenant
│   ├── TenantBusy
│   ├── TenantClosed
│   ├── TenantGone
│   └── TenantUnavailable
├── EnqueueError
│   ├── SerializationError
│   ├── UnsupportedCapability
│   ├── DuplicateJob
│   │   └── LimitReached
│   └── PartlyEnqueued
├── ArgumentError
│   ├── RecordGone
│   └── RecordUnavailable
├── EnvelopeError                  quarantined: out of reach of any handler
│   ├── BadSignature
│   ├── Undecipherable
│   ├── UnknownJob
│   └── UnknownVersion
├── LedgerUnavailable
├── BrokenExport
├── JobTimeout                     also a TimeoutError
├── JobGone
├── NoResult
├── WrongState
├── Abort                          raised by hooks, for us
└── StepError

Interruption and LeaseLost stand outside the tree, under BaseException: they are not failures of the
job, so neither a handler nor a broad ``except Exception`` in user code may decide about them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenantjobs.handle import Handle


class TenantjobsError(Exception):
    """Root of everything that tenantjobs raises for users to catch."""


class ConfigurationError(TenantjobsError):
    """The configuration or a declaration is wrong; the message lists every mistake and the nearest valid name."""


class TenancyError(TenantjobsError):
    """Something would have run, read or travelled outside the tenant that it belongs to."""


class TenantMissing(TenancyError):
    """A tenant is required here and there is none."""


class CrossTenantSwitch(TenancyError):
    """Inside one tenant's scope, another tenant was set without ``Current.switch``."""


class WrongTenant(TenancyError):
    """A record belongs to another tenant than the current one."""


class TenantBusy(TenancyError):
    """Jobs or transactions of the tenant are under way that have to end first."""


class TenantClosed(TenancyError):
    """The tenant takes no new jobs, because it is being drained: what waits is done, and nothing is added to it."""


class TenantGone(TenancyError):
    """The tenant does not exist any more: waiting will not help."""


class TenantUnavailable(TenancyError):
    """The tenant could not be looked up now: the store did not answer."""


class EnqueueError(TenantjobsError):
    """A job was not enqueued, and nothing of it was stored."""


class SerializationError(EnqueueError):
    """An argument cannot travel; the message names it and its type."""


class UnsupportedCapability(EnqueueError):
    """The adapter cannot do what was asked for, and does not pretend to."""


class DuplicateJob(EnqueueError):
    """A job with the same unique key is already there."""


class LimitReached(DuplicateJob):
    """As many jobs of its key as may run at once are there already, and this one is not to wait for one of them."""


class PartlyEnqueued(EnqueueError):
    """Of many jobs some were enqueued, and others were not.

    ``errors`` says why not, by the id of the job. From ``perform_all_later`` it has the ``handles`` of all of them, in
    order. An adapter raises it from ``enqueue_all`` when it has stored only some of the jobs.
    """

    def __init__(self, errors: Mapping[str, Exception], handles: Sequence[Handle] = ()) -> None:
        of = f" of {len(handles)}" if handles else ""
        first = next(iter(errors.values()), None)
        super().__init__(f"{len(errors)}{of} jobs were not enqueued, the first because of {first!r}: ask the handles")
        self.errors = errors
        self.handles = handles


def require_none_broken(errors: Mapping[str, Exception], handles: Sequence[Handle]) -> None:
    """``PartlyEnqueued`` if one of the errors is not about its job itself."""
    broken = [error for error in errors.values() if not isinstance(error, EnqueueError)]
    if broken:
        raise PartlyEnqueued(errors, handles) from broken[0]


class ArgumentError(TenantjobsError):
    """The arguments of a job could not be loaded."""


class RecordGone(ArgumentError):
    """The record does not exist any more: waiting will not help."""


class RecordUnavailable(ArgumentError):
    """The record could not be looked up now: the store did not answer."""


class LedgerUnavailable(TenantjobsError):
    """The ledger does not answer: nothing is done without its key. A job that meets this comes back later."""


class EnvelopeError(TenantjobsError):
    """What came off the queue is not an envelope that this process may run."""


class BadSignature(EnvelopeError):
    """The envelope was not signed by us, or was changed on its way."""


class Undecipherable(EnvelopeError):
    """The arguments are encrypted, and nobody here has the key: it was destroyed, or they were changed."""


class UnknownJob(EnvelopeError):
    """No job of this name is registered; a module named in a message is never imported."""


class UnknownVersion(EnvelopeError):
    """The envelope was written by a version that this one does not know."""


class BrokenExport(TenantjobsError):
    """A file is not the whole export of a tenant that it was."""


class JobTimeout(TenantjobsError, TimeoutError):
    """The job ran longer than its ``timeout``."""


class JobGone(TenantjobsError):
    """There is no job of this id in the queue, or none any more, or it is none of those that are meant."""


class NoResult(TenantjobsError):
    """A job has no result to be read: it has not finished, or it has not kept what it returned."""


class WrongState(TenantjobsError):
    """What somebody wants to do about a job by hand cannot be done where that job stands now."""


class Abort(TenantjobsError):
    """Raised in a hook before or around a job: the job is not enqueued, or not performed, and that is no failure."""


class StepError(TenantjobsError):
    """A step was declared or used wrongly."""


class Interruption(BaseException):
    """The worker stops before the job is done: roll back, charge no attempt, run it again elsewhere."""


class Cancelled(Interruption):
    """Somebody has cancelled the job while it runs: roll back, and perform it no more. Not to be caught on the way."""


class KeyTaken(Interruption):
    """Another one is at work on a key that the job needs: roll back, charge no attempt, run it again a little later."""


class LeaseLost(BaseException):
    """Another worker owns this job by now: roll back and leave every trace to the other one."""

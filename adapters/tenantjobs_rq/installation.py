"""The one line that makes the jobs of a process carry ``Current``."""

from __future__ import annotations

from typing import get_args

from tenantjobs.carriage import Tenancy
from tenantjobs.errors import ConfigurationError
from tenantjobs_rq import crons, deferral, jobs, policy, workers


def install(tenancy: Tenancy = "required", after_commit: bool = False) -> None:
    """Every job of this process, enqueued or performed, is in the scope that it was enqueued in.

    What ``tenancy`` says of a job that comes without a tenant: ``"required"`` fails it with ``TenantMissing``,
    ``"optional"`` runs it without one, ``"observe"`` runs it and logs a warning, for a roll-out. A scope that cannot be
    read and, where the configuration says what a tenant is, a tenant that is gone fail it with any policy but
    ``"observe"``. With ``after_commit`` an enqueue waits until the open transaction has committed, and a rollback
    drops it; what is given a pipeline leaves with that.

    Call it wherever jobs are enqueued, before ``rq.cron.register``. A worker gets the same by
    ``rq worker -j tenantjobs_rq.TenantJob`` or ``RQ_JOB_CLASS``, with the ``tenancy`` of the configuration where
    nothing that it imports calls this. A second call changes nothing; ``ConfigurationError`` if it asks for something
    else, or for a policy that there is not.
    """
    if tenancy not in get_args(Tenancy):
        raise ConfigurationError(
            f"tenantjobs_rq.install(tenancy={tenancy!r}): it is one of {', '.join(get_args(Tenancy))}"
        )
    policy.declare(tenancy, bool(after_commit))
    cover()


def cover() -> None:
    """Whatever RQ does in this process is covered from now on."""
    jobs.cover()
    workers.cover()
    deferral.cover()
    crons.cover()

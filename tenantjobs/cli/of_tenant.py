"""``tenantjobs tenants cancel`` and ``retry``: what ``tenantjobs jobs`` does by hand, about all jobs of one tenant."""

from __future__ import annotations

from typing import Any

import click

from tenantjobs.cli.intervening import act, taking
from tenantjobs.cli.tenant import tenant_argument
from tenantjobs.upkeep import Verb
from tenantjobs.view import JobFilter

acting = taking(tenant_argument)


@click.command("cancel")
@acting
def cancel(tenant: str, **asked: Any) -> None:
    """Take back all jobs of a tenant that have not started.

    Those that run are told to stop, as `tenantjobs jobs cancel` does. They can still be
    enqueued: drain or pause the tenant first.
    """
    _act("cancel", "cancelled", tenant, **asked)


@click.command("retry")
@acting
def retry(tenant: str, **asked: Any) -> None:
    """Have all jobs of a tenant that failed run again as if never tried."""
    _act("retry", "retried", tenant, **asked)


def _act(verb: Verb, done: str, tenant: str, **asked: Any) -> None:
    act(verb, done, job_id=None, which=JobFilter(tenant=tenant), wants_all=False, **asked)

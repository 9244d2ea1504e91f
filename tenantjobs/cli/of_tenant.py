"""``tenantjobs tenants cancel`` and ``retry``: what ``tenantjobs jobs`` does by hand, about all jobs of one tenant."""

from __future__ import annotations

from typing import Any

import click

from tenantjobs.cli.choosing import F
from tenantjobs.cli.intervening import act
from tenantjobs.cli.output import json_option
from tenantjobs.cli.tenant import tenant_argument
from tenantjobs.upkeep import BATCH, Verb
from tenantjobs.view import JobFilter

OPTIONS = (
    tenant_argument,
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
    click.option(
        "--batch-size", type=click.IntRange(1), default=BATCH, show_default=True, help="Jobs of one transaction."
    ),
    json_option,
)


def acting(command: F) -> F:
    """Give ``command`` a TENANT, and the options that say how."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


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

"""The argument TENANT of commands: its id, as it is written everywhere."""

from __future__ import annotations

import click

from tenantjobs.identity import canonical_id


def _tenant(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return canonical_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


tenant_argument = click.argument("tenant", callback=_tenant)

"""The argument TENANT of commands: its id, as it is written everywhere."""

from __future__ import annotations

import click

from tenantjobs.cli import values

tenant_argument = click.argument("tenant", callback=values.tenant)

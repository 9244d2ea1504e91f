"""The command ``tenantjobs`` itself. Each subcommand is a module that is imported when it is asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import click

import tenantjobs
from tenantjobs import config
from tenantjobs.cli.output import ARGUMENTS, Failure
from tenantjobs.config.mistakes import meant
from tenantjobs.errors import TenantjobsError

MODULES = {
    "init": "tenantjobs.cli.init",
    "check": "tenantjobs.cli.check",
    "work": "tenantjobs.cli.work",
    "jobs": "tenantjobs.cli.jobs",
    "queues": "tenantjobs.cli.queues",
    "tenants": "tenantjobs.cli.tenants",
    "processes": "tenantjobs.cli.processes",
    "db": "tenantjobs.cli.db",
    "recurring": "tenantjobs.cli.recurring",
}


class Commands(click.Group):
    """The subcommands in ``MODULES``: each module has a ``command``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in MODULES:
            return None
        command: click.Command = import_module(MODULES[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in MODULES and not name.startswith("-"):
            ctx.fail(f"there is no command {name!r}{meant(name, MODULES)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TenantjobsError as error:
            raise Failure(str(error)) from error


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="The configuration is tenantjobs.toml or [tool.tenantjobs] in pyproject.toml, in this folder or one above.",
)
@click.version_option(tenantjobs.__version__, message="%(prog)s %(version)s", prog_name="tenantjobs")
@click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this configuration file.",
)
@click.option("--adapter", metavar="NAME", help="Use this adapter, whatever is configured.")
def main(config_file: Path | None, adapter: str | None) -> None:
    """Jobs that know their tenant, on the queue you have."""
    # As `python -m` does: `app` is a module of the project that the command is run in.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    values = {} if adapter is None else {"adapter": adapter}
    config.command_line(file=config_file, **values)

"""``tenantjobs init``: a configuration file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from tenantjobs import config
from tenantjobs.cli.output import Failure
from tenantjobs.config import Origin, file
from tenantjobs.config.layer import option
from tenantjobs.config.mistakes import Mistakes

HEAD = """\
# Configuration of tenantjobs. Relative paths are relative to this file.
# TENANTJOBS_* variables and tenantjobs.configure() take precedence over it;
# `tenantjobs check` shows what is in force and where it comes from.

adapter = "{adapter}"{pad}# {adapters}
{app}# imported by every worker: it defines the jobs
tenancy = "required"      # required | optional | observe | none (single-tenant)
"""

SECTIONS = {
    "db": """
[db]
# Where the queue lives: a file beside this one, or a server, as in
# "postgresql+psycopg://user@localhost/shop", "mysql+pymysql://user@host/shop".
url = "sqlite:///jobs.db"
# Or the engine of the application: jobs then commit with its transactions.
# engine = "shop.db:engine"
""",
}


@click.command("init")
@click.option("--adapter", metavar="NAME", help="The queue to use.  [default: db]")
@click.option("--app", metavar="MODULE", help='The module that defines the jobs, as in "shop.main".')
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.pass_context
def command(ctx: click.Context, adapter: str | None, app: str | None, force: bool) -> None:
    """Write a tenantjobs.toml to start from."""
    name = adapter or ctx.find_root().params.get("adapter") or "db"
    config.entry_point(name)
    mistakes = Mistakes()
    if app is not None:
        option("app", app, Origin("--app"), mistakes)
    mistakes.check()
    path = Path.cwd() / file.NAME
    if not force:
        _refuse_to_overwrite(path)
    path.write_text(_content(name, app), encoding="utf-8")
    click.echo(f"wrote {path.name}\n\nNext:")
    if app is None:
        click.echo('  write into it which module defines your jobs: app = "shop.main"')
    click.echo("  tenantjobs check    shows what is configured, and what is missing")
    click.echo("  tenantjobs work     performs the jobs")


def _refuse_to_overwrite(path: Path) -> None:
    if path.exists():
        raise Failure(f"{path.name} is there already; --force overwrites it")
    project = path.with_name(file.PYPROJECT)
    if project.is_file() and (found := file.find(path.parent)) is not None and found.path == project:
        raise Failure(
            f"{project.name} has a table [tool.tenantjobs], which {path.name} would replace; --force writes it even so"
        )


def _content(adapter: str, app: str | None) -> str:
    line = f'adapter = "{adapter}"'
    setting = '# app   = "shop.main"' if app is None else f'app     = "{app}"'
    head = HEAD.format(
        adapter=adapter,
        pad=" " * max(2, 26 - len(line)),
        adapters=" | ".join(sorted(config.installed().keys() - {"redis", "test"})),
        app=setting.ljust(26),
    )
    return head + SECTIONS.get(adapter, "")

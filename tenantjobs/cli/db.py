"""``tenantjobs db``: the tables of the database queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from tenantjobs import adapter, config, runtime
from tenantjobs.cli.output import Failure, as_json, json_option


@click.group("db")
def command() -> None:
    """Make and inspect the tables of the database queue."""


@command.command("upgrade")
@json_option
def upgrade(wants_json: bool) -> None:
    """Bring the tables to the version of this release."""
    with _engine() as engine:
        applied = _schema().upgrade(engine)
        version = _schema().status(engine).version
    if wants_json:
        as_json({"applied": applied, "version": version})
    elif applied:
        click.echo(f"upgraded to version {version} (steps taken: {', '.join(map(str, applied))})")
    else:
        click.echo(f"nothing to do: the tables are at version {version}")


@command.command("status")
@json_option
@click.pass_context
def status(ctx: click.Context, wants_json: bool) -> None:
    """Show the version of the tables; exit code 1 if a worker would refuse it."""
    with _engine() as engine:
        found = _schema().status(engine)
    if wants_json:
        as_json(
            {
                "version": found.version,
                "wanted": found.wanted,
                "ok": found.problem is None,
                "problem": found.problem,
            }
        )
    else:
        click.echo(found.problem or f"the tables are at version {found.version}, as this release wants them")
    ctx.exit(0 if found.problem is None else 1)


@command.command("sql")
@click.option("--dialect", metavar="NAME", help="postgresql or sqlite.  [default: that of the configured database]")
@click.option(
    "--since", metavar="VERSION", type=click.IntRange(min=0), default=0, help="Leave out steps up to this one."
)
def sql(dialect: str | None, since: int) -> None:
    """Print the SQL that upgrade would run, without connecting."""
    click.echo(_schema().sql(dialect or _dialect_name(), since=since), nl=False)


def _dialect_name() -> str:
    name: str = import_module("tenantjobs_db.opening").dialect_name(_adapter().settings)
    return name


def _schema() -> Any:
    # Not an import statement: the neutral layer knows no adapter. Loading its class explains what is not installed.
    config.adapter_class("db")
    return import_module("tenantjobs_db.schema")


@contextmanager
def _engine() -> Iterator[Any]:
    queue = _adapter()
    no_answer = import_module("sqlalchemy.exc").SQLAlchemyError
    try:
        yield queue.database.engine
    except no_answer as error:
        raise Failure(f"the database of the queue does not answer: {getattr(error, 'orig', None) or error}") from error


def _adapter() -> Any:
    settings = runtime.load_app()
    queue = adapter.configured()
    if not isinstance(queue, config.adapter_class("db")):
        raise Failure(
            f"the adapter {settings.adapter!r} has no tables; these commands are for the adapter 'db' "
            f"(tenantjobs --adapter db db ..., with a section [db])"
        )
    return queue

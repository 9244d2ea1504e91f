"""``tenantjobs db``: the tables of the database queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from tenantjobs import adapter, config, outbox, runtime
from tenantjobs.cli.output import Failure, as_json, json_option

QUEUE, OUTBOX = "queue", "outbox"


@click.group("db")
def command() -> None:
    """Make and inspect the tables of the database queue."""


@command.command("upgrade")
@json_option
def upgrade(wants_json: bool) -> None:
    """Bring the tables to the version of this release, those of the outbox too."""
    with _engines() as engines:
        applied = {name: _schema().upgrade(engine) for name, engine in engines.items()}
        versions = {name: _schema().status(engine).version for name, engine in engines.items()}
    if wants_json:
        as_json(_by_name({name: {"applied": applied[name], "version": versions[name]} for name in applied}))
        return
    for name, steps in applied.items():
        where = "" if name == QUEUE else f"{name}: "
        if steps:
            click.echo(f"{where}upgraded to version {versions[name]} (steps taken: {', '.join(map(str, steps))})")
        else:
            click.echo(f"{where}nothing to do: the tables are at version {versions[name]}")


@command.command("status")
@json_option
@click.pass_context
def status(ctx: click.Context, wants_json: bool) -> None:
    """Show the version of the tables; exit code 1 if a worker would refuse it."""
    with _engines() as engines:
        statuses = {name: _schema().status(engine) for name, engine in engines.items()}
    if wants_json:
        as_json(_by_name({name: _status(found) for name, found in statuses.items()}))
    else:
        for name, found in statuses.items():
            where = "" if name == QUEUE else f"{name}: "
            told = found.problem or f"the tables are at version {found.version}, as this release wants them"
            click.echo(where + told)
    ctx.exit(0 if all(found.problem is None for found in statuses.values()) else 1)


@command.command("sql")
@click.option(
    "--dialect",
    metavar="NAME",
    help="mysql (MariaDB too), postgresql or sqlite.  [default: that of the configured database]",
)
@click.option(
    "--since", metavar="VERSION", type=click.IntRange(min=0), default=0, help="Leave out steps up to this one."
)
def sql(dialect: str | None, since: int) -> None:
    """Print the SQL that upgrade would run, without connecting."""
    click.echo(_schema().sql(dialect or _dialect_name(), since=since), nl=False)


def _dialect_name() -> str:
    runtime.load_app()
    queue = adapter.configured()
    # The tables of an outbox are those of the adapter 'db' too, whatever the queue is.
    keeper: Any = queue if isinstance(queue, config.adapter_class("db")) else adapter.built("db")
    name: str = import_module("tenantjobs_db.opening").dialect_name(keeper.settings)
    return name


def _schema() -> Any:
    # Not an import statement: the neutral layer knows no adapter. Loading its class explains what is not installed.
    config.adapter_class("db")
    return import_module("tenantjobs_db.schema")


def _status(found: Any) -> dict[str, object]:
    return {
        "version": found.version,
        "wanted": found.wanted,
        "ok": found.problem is None,
        "problem": found.problem,
    }


def _by_name(reports: dict[str, dict[str, object]]) -> dict[str, object]:
    """What there is to say of the queue; of an outbox in another database below a key of its own."""
    return {**reports.pop(QUEUE, {}), **reports}


@contextmanager
def _engines() -> Iterator[dict[str, Any]]:
    """The engine of the queue's database, and that of the outbox's, if it is another."""
    settings = runtime.load_app()
    no_answer = import_module("sqlalchemy.exc").SQLAlchemyError
    try:
        engines = _configured()
        if not engines:
            raise Failure(
                f"the adapter {settings.adapter!r} has no tables; these commands are for the adapter 'db' "
                f"(tenantjobs --adapter db db ..., with a section [db]), and for an outbox"
            )
        yield engines
    except no_answer as error:
        raise Failure(f"the database of the queue does not answer: {getattr(error, 'orig', None) or error}") from error


def _configured() -> dict[str, Any]:
    queue: Any = adapter.configured()
    box: Any = outbox.configured()
    databases = {QUEUE: queue.database} if isinstance(queue, config.adapter_class("db")) else {}
    if box is not None and box.database not in databases.values():
        databases[OUTBOX] = box.database
    return {name: database.engine for name, database in databases.items()}

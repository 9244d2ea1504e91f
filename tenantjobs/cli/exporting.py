"""``tenantjobs tenants export`` and ``verify``: all that is here of a tenant as a file, and whether it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import click

from tenantjobs import adapter, exporting, runtime
from tenantjobs.cli.drawing import drawing
from tenantjobs.cli.output import Failure, as_json, json_option, table
from tenantjobs.cli.tenant import tenant_argument
from tenantjobs.errors import TenantjobsError
from tenantjobs.exporting import Exports, HasExports, Manifest


@click.command("export")
@tenant_argument
@click.option("--to", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="A new file.")
@click.option(
    "--redact",
    multiple=True,
    metavar="NAME",
    help="Leave out the values of arguments, attributes and fields of this name; may be given again.",
)
@json_option
def export(tenant: str, path: Path, redact: tuple[str, ...], wants_json: bool) -> None:
    """Write everything of a tenant to a file: lines of JSON, and a manifest.

    Jobs have their arguments by name and in clear, where this process has the keys, so
    that the file can be read by nobody else.
    """
    exports = _exports()
    if path.exists():
        raise Failure(f"{path} is there already: choose another name, or remove it")
    part = path.with_name(f"{path.name}.part")  # what is not finished is not taken for an export
    try:
        with _private(part) as file, drawing() as draw:
            manifest = exports.export(
                tenant, file, redact=redact, tell=lambda name, count: draw(f"{count} rows  {name}")
            )
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _told(manifest, f"{path}: ", wants_json=wants_json)


@click.command("verify")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def verify(path: Path, wants_json: bool) -> None:
    """Say whether an export is whole, and as it was written."""
    runtime.load_app()
    try:
        with path.open("rb") as file:
            manifest = exporting.verify(file)
    except TenantjobsError as error:
        raise Failure(f"{path}: {error}") from error
    _told(manifest, f"{path} is whole: ", wants_json=wants_json)


def _told(manifest: Manifest, what: str, *, wants_json: bool) -> None:
    if wants_json:
        as_json(manifest)
        return
    table([(str(count), name) for name, count in manifest.rows.items() if count])
    signed = "not signed" if manifest.signature is None else f"signed with the key {manifest.signature.split(':')[0]}"
    at = f"{manifest.at:%Y-%m-%d %H:%M:%S} UTC"
    click.echo(f"{what}{sum(manifest.rows.values())} rows of tenant {manifest.tenant} at {at}, {signed}")
    if manifest.unreadable:
        click.echo(
            f"the arguments of {manifest.unreadable} jobs could not be read, and are not in it: see `unreadable`"
        )


def _private(path: Path) -> IO[bytes]:
    """A file that is new, and that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _exports() -> Exports:
    settings = runtime.load_app()
    found = adapter.keeper(HasExports)
    if not isinstance(found, HasExports):
        raise Failure(f"the adapter {settings.adapter!r} has no tables of ours that a tenant could be exported from")
    return found.exports

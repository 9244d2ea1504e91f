"""``tenantjobs tenants purge``: everything of a tenant goes, and it is counted that nothing is left."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tenantjobs import adapter, runtime
from tenantjobs.cli.bar import bar
from tenantjobs.cli.drawing import drawing
from tenantjobs.cli.output import Failure, as_json, json_option, table
from tenantjobs.cli.tenant import tenant_argument
from tenantjobs.progress import Progress
from tenantjobs.purging import HasPurges, Proof, Purges

BEYOND = "messages in queues of Celery, Dramatiq or RQ, logs, and backups of the database are not in our reach"
KEYS = {
    "destroyed": "its encryption keys are destroyed",
    "left": "its encryption keys are there yet: destroy them where [encryption] keys has them from",
}


@click.command("purge")
@tenant_argument
@click.option("--while-running", is_flag=True, help="Also while jobs of it run: what they do is not written any more.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def purge(tenant: str, while_running: bool, yes: bool, wants_json: bool) -> None:
    """Remove everything of a tenant, and prove that nothing is left.

    Nothing is taken for it any more, from nobody. The exit code is 1 if something is
    left. Run it again if it was stopped half way.
    """
    purges = _purges()
    rows = purges.rows(tenant)
    if not yes:
        if wants_json:
            raise click.UsageError("with --json nobody is asked, so say --yes")
        _ask(tenant, rows)
    total = sum(rows.values())
    with drawing() as draw:
        proof = purges.purge(
            tenant,
            while_running=while_running,
            tell=lambda name, gone: draw(f"{bar(Progress(gone, max(total, gone)))}  {name}"),
        )
    if wants_json:
        as_json(proof)
    else:
        _print(proof)
    if not proof.is_empty:
        raise Failure(f"tenant {tenant} is closed, and not all of it is gone: purge it again")


def _ask(tenant: str, rows: Mapping[str, int]) -> None:
    found = {name: count for name, count in rows.items() if count}
    if found:
        click.echo(f"of tenant {tenant} there are", err=True)
        for name, count in found.items():
            click.echo(f"  {count:>9}  {name}", err=True)
    again = click.prompt("Everything is removed, and cannot be brought back. Type the id of the tenant again", err=True)
    if again.strip() != tenant:
        raise Failure(f"{again.strip()!r} is not {tenant!r}: nothing was removed")


def _print(proof: Proof) -> None:
    rows = [(name, str(proof.removed.get(name, 0)), str(count)) for name, count in proof.rows.items()]
    table([("table", "removed", "left"), *rows], indent=0)
    click.echo(f"{sum(proof.rows.values())} rows are left of tenant {proof.tenant} at {proof.at:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(f"sha256 {proof.sha256}" + (f", signed {proof.signature}" if proof.signature else ""))
    if proof.keys in KEYS:
        click.echo(KEYS[proof.keys])
    click.echo(BEYOND)


def _purges() -> Purges:
    settings = runtime.load_app()
    found = adapter.keeper(HasPurges)
    if not isinstance(found, HasPurges):
        raise Failure(f"the adapter {settings.adapter!r} has no tables of ours that a tenant could be purged from")
    return found.purges

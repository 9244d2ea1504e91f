"""A tenant as a file, and the end of one, from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tenantjobs import Current, TenantGone
from tenantjobs.cli import main
from tests.configuration import Run
from tests.tenantjobs.cli.test_jobs_command import enqueued

pytest.importorskip("sqlalchemy")


def test_a_tenant_is_exported_and_the_file_verified(render: Any, tenantjobs: Run, folder: Path) -> None:
    enqueued(render)
    with Current.set(tenant_id="globex"):
        render.perform_later(8)

    told = tenantjobs("tenants", "export", "acme", "--to", "acme.jsonl", "--redact", "account").stdout

    assert "1  tj_jobs" in told
    assert "acme.jsonl: 1 rows of tenant acme at " in told
    assert "not signed" in told
    file = folder / "acme.jsonl"
    assert (file.stat().st_mode & 0o777, list(folder.glob("*.part"))) == (0o600, [])
    assert '"account":"[redacted]"' in file.read_text()
    assert (
        tenantjobs("tenants", "verify", "acme.jsonl").stdout.splitlines()[-1].startswith("acme.jsonl is whole: 1 rows")
    )
    assert json.loads(tenantjobs("tenants", "verify", "acme.jsonl", "--json").stdout)["rows"]["tj_jobs"] == 1

    assert "is there already" in tenantjobs("tenants", "export", "acme", "--to", "acme.jsonl", exit_code=1).stderr
    file.write_text(file.read_text().replace("ready", "ended"))
    assert "they were changed since" in tenantjobs("tenants", "verify", "acme.jsonl", exit_code=1).stderr


def test_a_tenant_is_purged_when_its_id_is_typed_again(render: Any, tenantjobs: Run) -> None:
    enqueued(render)

    asked = CliRunner().invoke(main, ["tenants", "purge", "acme"], input="acne\n")
    assert asked.exit_code == 1
    assert "1  tj_jobs" in asked.stderr
    assert "'acne' is not 'acme': nothing was removed" in asked.stderr

    told = CliRunner().invoke(main, ["tenants", "purge", "acme"], input="acme\n")
    assert told.exit_code == 0
    lines = told.stdout.removeprefix(" acme\n").splitlines()  # Click 8.2 has what is typed there, later ones in stderr
    assert lines[0].split() == ["table", "removed", "left"]
    assert next(line for line in lines if line.startswith("tj_jobs")).split() == ["tj_jobs", "1", "0"]
    assert any(line.startswith("0 rows are left of tenant acme at ") for line in lines)
    assert "backups of the database are not in our reach" in lines[-1]

    with pytest.raises(TenantGone, match="tenants open acme"):
        enqueued(render)
    proof = json.loads(tenantjobs("tenants", "purge", "acme", "--yes", "--json").stdout)
    assert set(proof["rows"].values()) == {0}
    assert "say --yes" in tenantjobs("tenants", "purge", "acme", "--json", exit_code=2).stderr
    assert "does this id" in tenantjobs("tenants", "open", "acme", exit_code=1).stderr.lower()
    assert tenantjobs("tenants", "open", "acme", "--yes").stdout == "tenant acme takes jobs again\n"
    assert enqueued(render)


def test_what_is_left_of_a_tenant_is_exit_code_1(render: Any, tenantjobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued(render)
    monkeypatch.setattr("tenantjobs_db.purging.Place.remove", lambda _place, _tenant: iter(()))

    purged = tenantjobs("tenants", "purge", "acme", "--yes", exit_code=1)

    assert "rows are left of tenant acme" in purged.stdout
    assert purged.stderr == "error: tenant acme is closed, and not all of it is gone: purge it again\n"
    assert "purging since" in tenantjobs("tenants", "list").stdout


def test_the_jobs_of_a_tenant_are_cancelled_and_retried(render: Any, tenantjobs: Run) -> None:
    enqueued(render)
    enqueued(render, wait=3600)
    with Current.set(tenant_id="globex"):
        render.perform_later(8)

    assert "say --yes" in tenantjobs("tenants", "cancel", "acme", "--json", exit_code=2).stderr
    assert json.loads(tenantjobs("tenants", "cancel", "acme", "--yes", "--json").stdout)["done"] == 2
    assert tenantjobs("tenants", "retry", "acme", "--yes").stdout == "0 jobs retried\n"
    (left,) = json.loads(tenantjobs("tenants", "list", "--json").stdout)
    assert (left["tenant"]["name"], left["tenant"]["ready"]) == ("globex", 1)

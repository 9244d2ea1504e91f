from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenantjobs import TenantClosed, testing
from tests.configuration import Run, write
from tests.tenantjobs.cli.test_jobs_command import enqueued
from tests.tenantjobs.cli.test_work import NativeAdapter

pytest.importorskip("sqlalchemy")


def cells(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


@pytest.mark.parity("1b.35")
def test_a_queue_is_paused_and_resumed(render: Any, tenantjobs: Run) -> None:
    enqueued(render)
    assert tenantjobs("queues", "pause", "default", "--reason", "deploy").stdout == (
        "queue default is paused: what runs goes on\n"
    )
    assert tenantjobs("queues", "pause", "default").stdout == "queue default was paused already\n"
    assert testing.drain() == 0

    heads, row = cells(tenantjobs("queues", "list").stdout)
    assert heads == ["queue", "ready", "running", "scheduled", "blocked", "failed", "lag", "paused"]
    assert row[:6] == ["default", "1", "0", "0", "0", "0"]
    assert row[-1] == "deploy"

    assert tenantjobs("queues", "resume", "default").stdout == "queue default is resumed\n"
    assert tenantjobs("queues", "resume", "default").stdout == "queue default was not paused\n"
    assert testing.drain() == 1
    assert tenantjobs("queues", "list").stdout == "nothing waits in any queue\n"


def test_a_tenant_is_shown_with_what_it_has_and_may_have(render: Any, tenantjobs: Run) -> None:
    enqueued(render)
    enqueued(render, wait=3600)
    assert tenantjobs("tenants", "weight", "acme", "2.5").stdout == "tenant acme has the weight 2.5\n"
    assert tenantjobs("tenants", "cap", "acme", "3").stdout == "tenant acme has at most 3 jobs running at once\n"
    assert tenantjobs("tenants", "rate", "globex", "10", "--per", "5").stdout == (
        "tenant globex starts at most 10 jobs in 5 s\n"
    )

    acme, globex = json.loads(tenantjobs("tenants", "list", "--json").stdout)
    assert {name: acme["tenant"][name] for name in ("name", "ready", "scheduled", "running", "failed")} == {
        "name": "acme",
        "ready": 1,
        "scheduled": 1,
        "running": 0,
        "failed": 0,
    }
    assert acme["tenant"]["lag"] >= 0
    assert (acme["control"]["weight"], acme["control"]["cap"]) == (2.5, 3)
    assert (globex["tenant"]["ready"], globex["control"]["rate"]) == (0, {"to": 10, "seconds": 5.0})
    assert "10 in 5 s" in tenantjobs("tenants", "list").stdout

    for what, told in (("weight", "the weight 1"), ("cap", "no cap"), ("rate", "any number of jobs")):
        for tenant in ("acme", "globex"):
            assert told in tenantjobs("tenants", what, tenant, "off").stdout
    assert [tenant["control"] for tenant in json.loads(tenantjobs("tenants", "list", "--json").stdout)] == [None]


@pytest.mark.parametrize(
    ("command", "kind", "found"),
    [
        (("queues", "pause", "default", "--reason", "deploy"), "queue", {"reason": "deploy", "weight": None}),
        (("queues", "resume", "default"), "queue", None),
        (("jobs", "pause", "render"), "job", {"name": "render", "reason": None}),
        (("jobs", "resume", "render"), "job", None),
        (("tenants", "pause", "acme", "--reason", "unpaid"), "tenant", {"reason": "unpaid"}),
        (("tenants", "resume", "acme"), "tenant", None),
        (("tenants", "weight", "acme", "2.5"), "tenant", {"weight": 2.5}),
        (("tenants", "cap", "acme", "3"), "tenant", {"cap": 3}),
        (("tenants", "rate", "acme", "10", "--per", "5"), "tenant", {"rate": {"to": 10, "seconds": 5.0}}),
        (("tenants", "cap", "acme", "off"), "tenant", None),
        (("tenants", "open", "acme"), "tenant", None),
    ],
)
def test_programs_are_told_what_is_said_by_now(
    render: Any, tenantjobs: Run, command: tuple[str, ...], kind: str, found: dict[str, Any] | None
) -> None:
    told = json.loads(tenantjobs(*command, "--json").stdout)

    assert told[kind] == command[2]
    assert told["control"] == found or found.items() <= told["control"].items()


def test_a_purged_tenant_is_not_opened_where_nobody_is_asked(render: Any, tenantjobs: Run) -> None:
    tenantjobs("tenants", "purge", "acme", "--yes")

    assert "say --yes" in tenantjobs("tenants", "open", "acme", "--json", exit_code=2).stderr
    assert json.loads(tenantjobs("tenants", "open", "acme", "--json", "--yes").stdout)["control"] is None


def test_a_paused_tenant_waits_and_is_told_why(render: Any, tenantjobs: Run) -> None:
    job_id = enqueued(render)
    tenantjobs("tenants", "pause", "acme", "--reason", "unpaid")
    assert testing.drain() == 0

    explained = tenantjobs("jobs", "explain", job_id).stdout.splitlines()
    assert explained[0] == f"job {job_id} waits for"
    assert "unpaid" in explained[1]
    assert json.loads(tenantjobs("jobs", "explain", job_id, "--json").stdout)["reasons"][0]["kind"] == "paused"

    tenantjobs("tenants", "resume", "acme")
    assert testing.drain() == 1
    assert tenantjobs("jobs", "explain", job_id).stdout == f"job {job_id} does not wait: it is finished\n"


def test_jobs_of_a_name_are_paused(render: Any, tenantjobs: Run) -> None:
    enqueued(render)
    tenantjobs("jobs", "pause", "render")
    assert testing.drain() == 0
    assert tenantjobs("jobs", "resume", "render").stdout == "job render is resumed\n"
    assert testing.drain() == 1


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("tenants", "weight", "acme", "heavy"), 2, "'heavy' is neither a number nor 'off'"),
        (("tenants", "cap", "acme", "1.5"), 2, "'1.5' is neither a whole number nor 'off'"),
        (("tenants", "cap", "acme", "0"), 1, "pause it"),
        (("tenants", "weight", "acme", "1000"), 1, "from 0.01 to 100"),
        (("tenants", "pause", "0"), 2, "cannot be the id of a tenant"),
        (("jobs", "pause", "rendre"), 1, "did you mean 'render'?"),
        (("jobs", "explain", "nonsense"), 1, "there is no job nonsense"),
    ],
)
def test_what_cannot_be_said_is_refused(
    render: Any,
    tenantjobs: Run,
    arguments: tuple[str, ...],
    exit_code: int,
    told: str,
) -> None:
    assert told in tenantjobs(*arguments, exit_code=exit_code).stderr


def test_a_queue_that_hears_nobody_says_so(tenantjobs: Run, folder: Path, install: Callable[[type], None]) -> None:
    install(NativeAdapter)
    write(folder, 'adapter = "fake"\n')
    assert "'fake' cannot be told" in tenantjobs("queues", "list", exit_code=1).stderr
    assert "'fake' does not know why" in tenantjobs("jobs", "explain", "7", exit_code=1).stderr


def test_a_tenant_is_drained_and_opened_again(render: Any, tenantjobs: Run) -> None:
    job_id = enqueued(render)
    drained = tenantjobs("tenants", "drain", "acme", "--reason", "moves away", "--wait", "--timeout", "0", exit_code=1)
    assert drained.stdout == "tenant acme is being drained: 1 ready\n"
    assert drained.stderr == "error: tenant acme is not drained after 0 s: 1 ready\n"
    with pytest.raises(TenantClosed, match="tenants open acme"):
        enqueued(render)
    assert "draining since" in tenantjobs("tenants", "list").stdout
    assert tenantjobs("tenants", "drain", "acme").stdout == "tenant acme was already being drained: 1 ready\n"

    testing.drain()
    assert json.loads(tenantjobs("tenants", "drain", "acme", "--wait", "--json").stdout)["unfinished"] == 0
    assert json.loads(tenantjobs("tenants", "list", "--json").stdout)[0]["control"]["closed_for"] == "moves away"
    assert tenantjobs("tenants", "open", "acme").stdout == "tenant acme takes jobs again\n"
    assert tenantjobs("tenants", "open", "acme").stdout == "tenant acme was not closed\n"
    assert enqueued(render) != job_id


def test_a_drain_waits_for_what_lies_in_the_outbox(render: Any, tenantjobs: Run, folder: Path) -> None:
    with sqlite3.connect(folder / "shop.db") as connection:
        moment = "2999-01-01 00:00:00.000000"
        columns = "id, tenant, name, written_at, relay_at, data"
        connection.execute(f"INSERT INTO tj_outbox ({columns}) VALUES ('7', 'acme', 'n', ?, ?, '{{}}')", [moment] * 2)
    connection.close()

    drained = tenantjobs("tenants", "drain", "acme", "--wait", "--timeout", "0", exit_code=1)

    assert drained.stdout == "tenant acme is being drained: 1 in the outbox\n"


def test_whoever_waits_for_a_drain_is_told_what_is_in_the_way(render: Any, tenantjobs: Run) -> None:
    enqueued(render)
    tenantjobs("tenants", "pause", "acme")
    drained = tenantjobs("tenants", "drain", "acme", "--wait", "--timeout", "0", exit_code=1)
    assert "it is paused, so that none of them starts" in drained.stderr
    assert "--wait" in tenantjobs("tenants", "drain", "acme", "--timeout", "1", exit_code=2).stderr

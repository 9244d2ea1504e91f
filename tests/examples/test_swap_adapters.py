"""The same jobs on each queue, chosen by one variable, with real brokers and a worker of its own."""

from __future__ import annotations

import subprocess
import time
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.copies import EXAMPLES, Copy, delete_queue
from tests.services import require
from tests.tenantjobs_dramatiq import servers as dramatiq
from tests.tenantjobs_rq import servers

SECTIONS = tomllib.loads((EXAMPLES / "swap_adapters" / "tenantjobs.toml").read_text())
QUEUES = [name for name, section in SECTIONS.items() if isinstance(section, dict)]
SENT = [f"invoice {number} for {tenant}" for number in (1, 2) for tenant in ("acme", "globex")]

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def queue() -> str:
    """Where the invoices wait: servers have queues of others too, which no worker of these tests may serve."""
    return f"tj{uuid.uuid4().hex[:10]}"


@pytest.fixture
def application(tmp_path: Path, queue: str) -> Iterator[Copy]:
    require("RabbitMQ")
    require("Redis")
    copy = Copy("swap_adapters", tmp_path / "application", {'"invoices"': f'"{queue}"'})
    upgraded = copy.run("tenantjobs.cli", "db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stdout
    yield copy
    delete_queue(queue)
    dramatiq.remove(f"nothing.{queue}", f"tenantjobs.{queue}")
    servers.remove(f"tenantjobs.{queue}")


@pytest.mark.parametrize("adapter", QUEUES)
def test_a_worker_performs_the_jobs(application: Copy, queue: str, adapter: str) -> None:
    sent = application.run("send.py", TENANTJOBS_ADAPTER=adapter)
    assert sent.returncode == 0, sent.stdout

    command = application.command("tenantjobs.cli", "work", "-q", queue)
    variables = application.environment(TENANTJOBS_ADAPTER=adapter)
    with (application.folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(command, cwd=application.folder, env=variables, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 40
        while len(_sent(application)) < len(SENT) and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        worker.terminate()
        code = worker.wait(30)

    assert (code, _sent(application)) == (0, SENT), (application.folder / "worker.log").read_text()


def test_without_a_queue_they_are_performed_at_the_call(application: Copy) -> None:
    sent = application.run("send.py", TENANTJOBS_ADAPTER="inline")

    assert (sent.returncode, _sent(application)) == (0, SENT), sent.stdout


def test_every_queue_is_in_the_readme() -> None:
    text = (EXAMPLES / "swap_adapters" / "README.md").read_text()

    assert [name for name in (*QUEUES, "inline") if f"TENANTJOBS_ADAPTER={name} python send.py" not in text] == []


def _sent(application: Copy) -> list[str]:
    path = application.folder / "sent.txt"
    return sorted(path.read_text().splitlines()) if path.exists() else []

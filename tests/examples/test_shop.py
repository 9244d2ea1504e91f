from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from examples.shop.demo import customers, stream
from examples.shop.demo.processes import ROOT
from tests.services import fresh_mariadb, fresh_postgres

SMALL = "150"


def shop(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENANTJOBS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.shop", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def verdicts(output: str) -> Counter[str]:
    return Counter(line[:4] for line in output.splitlines() if line.startswith(("PASS ", "FAIL ")))


def test_the_tests_of_the_shop_itself_pass() -> None:
    # In a process of their own, as its sessions and its tenant are settings of one.
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "examples/shop"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert run.returncode == 0, run.stdout


def test_the_recorded_stream_is_what_its_generator_gives() -> None:
    recorded = stream.read()

    assert stream.generate() == recorded


def test_the_recorded_servers_are_those_of_the_customers() -> None:
    recorded = customers.read_servers()

    assert [server for customer in customers.CUSTOMERS for server in customer.servers()] == recorded


def test_the_stream_is_of_many_tenants_and_half_of_it_of_the_largest() -> None:
    requests = stream.read()
    sizes = Counter(request.account for request in requests).most_common()

    assert len(sizes) >= 20
    assert sizes[0][1] >= len(requests) / 2
    assert sizes[-1][1] < len(requests) / 100


def test_a_prefix_of_the_stream_has_all_kinds_of_trouble_in_it() -> None:
    requests = stream.read(int(SMALL))
    busy = {request.account for request in requests if request.path.startswith("/cards")}
    manners = {server.manners for server in customers.read_servers() if server.account in busy}

    assert {request.answer for request in requests} == {201, 204, 404, 413}
    assert manners == {"prompt", "down", "silent", "gone"}
    assert any(len(str(request.body)) > 100_000 for request in requests)


@pytest.mark.slow
def test_every_proof_holds_on_sqlite(tmp_path: Path) -> None:
    process = shop("--requests", SMALL, TMPDIR=str(tmp_path))
    output, _ = process.communicate()

    assert process.returncode == 0, output
    assert verdicts(output) == {"PASS": 5}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.postgres
def test_every_proof_holds_on_postgres() -> None:
    with fresh_postgres() as url:
        process = shop("--requests", SMALL, TENANTJOBS_DB_URL=url)
        output, _ = process.communicate()

    assert process.returncode == 0, output
    assert verdicts(output) == {"PASS": 5}
    assert "on postgresql" in output


@pytest.mark.slow
@pytest.mark.mariadb
def test_every_proof_holds_on_mariadb() -> None:
    with fresh_mariadb() as url:
        process = shop("--requests", SMALL, TENANTJOBS_DB_URL=url)
        output, _ = process.communicate()

    assert process.returncode == 0, output
    assert verdicts(output) == {"PASS": 5}
    assert "on mysql" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        ("loss", "every committed delivery was delivered"),
        ("duplicate", "every delivery had its effect once"),
        ("wrong-tenant", "no delivery under a wrong tenant"),
    ],
)
def test_a_planted_fault_is_found_by_its_proof_and_by_no_other(fault: str, claim: str) -> None:
    process = shop("--requests", SMALL, "--plant", fault)
    output, _ = process.communicate()

    assert process.returncode == 1, output
    assert f"FAIL {claim}" in output
    assert verdicts(output) == {"PASS": 4, "FAIL": 1}


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    process = shop(TMPDIR=str(tmp_path))
    started = started_by(process)
    process.send_signal(signal.SIGINT)
    process.communicate()

    assert process.returncode == 130
    assert [other for other in started if other.is_running()] == []
    assert list(tmp_path.iterdir()) == []


def started_by(process: subprocess.Popen[str], number: int = 4) -> list[psutil.Process]:
    """The processes of a run, once all of them are there."""
    conductor, until = psutil.Process(process.pid), time.monotonic() + 30
    while len(conductor.children()) < number and time.monotonic() < until:
        time.sleep(0.05)
    return list(conductor.children())

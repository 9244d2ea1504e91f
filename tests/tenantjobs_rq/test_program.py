"""Where no tenant is set, RQ does what it does without us: options, results, retries, callbacks, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tenantjobs_rq import servers, shop

pytestmark = pytest.mark.services


def observed(how: str) -> Any:
    with servers.queue() as here:
        command = [sys.executable, "-m", "tests.tenantjobs_rq.program", how, here.name]
        done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.replace(here.name, "QUEUE"))


def test_a_program_without_tenants_behaves_as_without_carriage() -> None:
    bare, carried = observed("bare"), observed("carried")

    assert len(bare["outcomes"]) == 15
    assert bare == carried


@pytest.mark.parametrize("job_class", ["rq.job.Job", "tenantjobs_rq.TenantJob"])
def test_a_worker_that_has_nothing_left_to_do_exits_as_ever(tmp_path: Path, job_class: str) -> None:
    with servers.queue() as here:
        here.queue.enqueue(shop.failing)
        arguments = ("worker", "--burst", here.name)
        with servers.process(
            tmp_path / "log", *arguments, RQ_JOB_CLASS=job_class, TENANTJOBS_TENANCY="optional"
        ) as worker:
            assert worker.wait(30) == 0
        assert here.queue.failed_job_registry.count == 1

"""Where no tenant is set, Dramatiq does what it does without us: options, results, retries, callbacks, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.tenantjobs_dramatiq.servers import ROOT


def observed(how: str) -> Any:
    command = [sys.executable, "-m", "tests.tenantjobs_dramatiq.program", how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_without_tenants_behaves_as_without_carriage() -> None:
    bare, carried = observed("bare"), observed("carried")

    assert bare["outcomes"][:2] == [2, 6]
    assert sum(map(len, bare["seen"])) > 60
    assert bare == carried

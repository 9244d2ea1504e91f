from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.tenantjobs_celery.servers import ROOT


def run(side: str, ending: str) -> tuple[int, Any]:
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), str(ROOT / "adapters"), *filter(None, sys.path)]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.tenantjobs_celery.program", side, ending],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("ending", "code"), [("shutdown", 0), ("code", 3)])
def test_a_program_without_tenants_behaves_as_without_carriage(ending: str, code: int) -> None:
    bare, carried = run("bare", ending), run("carried", ending)

    assert bare == carried
    assert carried[0] == code
    outcomes = carried[1]["outcomes"]
    assert ["SUCCESS", "2", "program.add", 0] == outcomes[0]
    assert "FAILURE" == outcomes[4][0]
    assert len(carried[1]["seen"]) > 60

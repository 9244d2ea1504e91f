from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tenantjobs import faults


def passing(point: str, times: int, armed: str | None) -> int:
    """The exit code of a process that passes ``point`` so often."""
    code = f"from tenantjobs import faults\nfor _ in range({times}): faults.point({point!r})"
    environment = {name: value for name, value in os.environ.items() if name != "TENANTJOBS_FAULT"}
    if armed is not None:
        environment["TENANTJOBS_FAULT"] = armed
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode


@pytest.mark.parametrize(
    ("armed", "times", "expected"),
    [
        (None, 5, 0),
        ("after_load", 1, -signal.SIGKILL),
        ("after_load:3", 2, 0),
        ("after_load:3", 3, -signal.SIGKILL),
        ("before_claim", 5, 0),
    ],
)
def test_a_process_dies_at_the_asked_passage_of_the_asked_point_only(
    armed: str | None, times: int, expected: int
) -> None:
    assert passing("after_load", times, armed) == expected


def test_every_named_point_stands_somewhere_in_the_sources() -> None:
    grep = subprocess.run(
        ["grep", "-rhoE", r'faults\.point\("[a-z_]+"\)', "tenantjobs", "adapters"],
        capture_output=True,
        text=True,
        check=False,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    )

    assert {line.split('"')[1] for line in grep.stdout.splitlines()} == set(faults.ALL_POINTS)


@pytest.mark.parametrize("armed", ["after_lunch", "after_load:x", "after_load:0", ":3"])
def test_a_point_that_does_not_exist_is_an_error_and_no_test_that_passes(armed: str) -> None:
    assert passing("after_load", 0, armed) == 1

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests import matrix
from tests.adapters_page.results import Environment

REPORT = """
<testsuites><testsuite>
  <testcase classname="tests.test_a" name="test_passes"/>
  <testcase classname="tests.test_a" name="test_skipped"><skipped/></testcase>
  <testcase classname="tests.test_a" name="test_fails"><failure/></testcase>
  <testcase classname="tests.test_a" name="test_cannot_start"><error/></testcase>
</testsuite></testsuites>
"""


def test_the_report_of_a_suite_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)

    found = matrix._read(report, sys.executable)

    assert (found.outcome, found.passed, found.skipped) == ("2 failed", 1, 1)
    assert found.failed == ["tests.test_a::test_cannot_start", "tests.test_a::test_fails"]
    assert found.versions["rq"]


def test_a_suite_that_did_not_come_to_its_end_has_not_passed(tmp_path: Path) -> None:
    assert matrix._read(tmp_path / "none.xml", sys.executable).outcome == "the suite did not come to its end"


def test_a_column_that_cannot_be_installed_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*command: str) -> str:
        raise subprocess.CalledProcessError(1, command)

    results = tmp_path / "matrix.json"
    monkeypatch.setattr(matrix, "_command", command)
    monkeypatch.setattr(matrix, "MATRIX", results)
    monkeypatch.setattr(matrix, "KIT", tmp_path / "none.json")
    monkeypatch.setattr(matrix, "read_matrix", dict)

    code = matrix.main([])

    written = msgspec.json.decode(results.read_bytes(), type=dict[str, Environment])
    assert code == 1
    assert {name: each.outcome.partition(":")[0] for name, each in written.items()} == {
        "oldest": "not run",
        "newest": "not run",
    }

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests import matrix
from tests.adapters_page.results import Environment

REPORT = """
<testsuites><testsuite>
  <testcase classname="tests.test_a" name="test_passes"/>
  <testcase classname="tests.test_a" name="test_skipped"><skipped/></testcase>
  <testcase classname="tests.test_a" name="test_fails"><failure/></testcase>
  <testcase classname="tests.test_a" name="test_cannot_start"><error/></testcase>
  <testcase classname="tests.test_a" name="test_cannot_end"/>
  <testcase classname="tests.test_a" name="test_cannot_end"><error/></testcase>
</testsuite></testsuites>
"""

COMPANY = """
import os


def test_broken():
    assert False


def test_touchy():
    assert "PYTEST_XDIST_WORKER" not in os.environ


def test_fine():
    pass
"""


def test_the_report_of_a_suite_says_what_has_become_of_each_test(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)

    found = matrix._outcomes(report)

    assert found == {
        "tests.test_a::test_passes": "passed",
        "tests.test_a::test_skipped": "skipped",
        "tests.test_a::test_fails": "failed",
        "tests.test_a::test_cannot_start": "failed",
        "tests.test_a::test_cannot_end": "failed",
    }


def test_a_column_says_its_versions_and_counts_its_tests() -> None:
    found = matrix._described(sys.executable, {"a": "passed", "b": "skipped"}, dict)

    assert (found.outcome, found.passed, found.skipped) == ("passed", 1, 1)
    assert found.versions["rq"]


# One that is skipped the second time, or did not run, has not passed.
@pytest.mark.parametrize("alone", [{"b": "failed"}, {"b": "skipped"}, {}])
def test_what_failed_in_company_has_failed_unless_it_passes_alone(alone: dict[str, str]) -> None:
    company = {"a": "passed", "b": "failed", "c": "failed"}

    found = matrix._described(sys.executable, company, lambda: {"c": "passed", **alone})

    assert (found.outcome, found.passed, found.failed, found.passed_alone) == ("1 failed", 2, ["b"], ["c"])


def test_a_column_where_all_that_failed_passes_alone_has_passed() -> None:
    found = matrix._described(sys.executable, {"a": "failed"}, lambda: {"a": "passed"})

    assert (found.outcome, found.passed, found.failed, found.passed_alone) == ("passed", 1, [], ["a"])


def test_where_nothing_failed_nothing_is_run_again() -> None:
    def alone() -> dict[str, str]:
        raise AssertionError

    assert matrix._described(sys.executable, {"a": "passed"}, alone).passed_alone == []


def test_a_suite_that_did_not_come_to_its_end_has_not_passed(tmp_path: Path) -> None:
    assert matrix._outcomes(tmp_path / "none.xml") == {}
    assert matrix._described(sys.executable, {}, dict).outcome == "the suite did not come to its end"


def test_a_suite_is_run_in_company_and_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_two.py").write_text(COMPANY)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # where this test is in company itself

    company = matrix._suite(tmp_path, "company", ["-n", "2"])
    alone = matrix._suite(tmp_path, "alone", matrix.ALONE)

    broken, touchy = "tests.test_two::test_broken", "tests.test_two::test_touchy"
    assert (company[broken], company[touchy]) == ("failed", "failed")
    assert alone == {broken: "failed", touchy: "passed"}


def test_the_oldest_column_has_the_oldest_versions_that_may_be_installed() -> None:
    project = tomllib.loads((matrix.ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    pins = {
        pin.name.lower(): specifier.version
        for pin in map(Requirement, matrix.OLDEST.pins)
        for specifier in pin.specifier
    }

    declared = {
        wanted.name.lower(): specifier.version
        for wanted in map(Requirement, lines)
        for specifier in wanted.specifier
        if specifier.operator == ">="
    }

    assert "celery" in declared
    assert [name for name, oldest in declared.items() if Version(pins.get(name, "0")) != Version(oldest)] == []


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

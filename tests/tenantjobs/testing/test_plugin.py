"""The plugin as a project has it: pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configuration import write

JOBS = """
import pytest
from tenantjobs import Current, job, testing

@job
def leaks():
    Current.set(tenant_id="acme").__enter__()

@job
def works():
    pass

def perform(function):
    with Current.set(tenant_id="acme"):
        function.perform_later()
    assert testing.drain() == 1

@pytest.mark.usefixtures("tenantjobs_test")
class TestJobs:
    def test_it_leaks(self):
        perform(leaks)

    def test_it_leaks_and_fails(self):
        perform(leaks)
        assert False, "its own reason"

    @pytest.mark.tenantjobs_leaks
    def test_it_may_leak(self):
        perform(leaks)

    def test_it_works(self):
        perform(works)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, JOBS, "test_jobs.py")
    return tmp_path


def ran(project: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-rA", *options]
    wide = {**os.environ, "COLUMNS": "300"}
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, env=wide).stdout


def test_a_test_whose_job_leaks_fails_and_says_what(project: Path) -> None:
    output = ran(project)

    assert "2 failed, 2 passed" in output
    assert "FAILED test_jobs.py::TestJobs::test_it_leaks - Failed: a job of this test leaked" in output
    assert "context: job test_jobs.leaks of tenant acme left a scope open" in output
    assert "PASSED test_jobs.py::TestJobs::test_it_may_leak" in output
    assert "PASSED test_jobs.py::TestJobs::test_it_works" in output


def test_a_test_that_fails_by_itself_keeps_its_reason_and_shows_the_leak(project: Path) -> None:
    output = ran(project, "-k", "leaks_and_fails")

    assert "FAILED test_jobs.py::TestJobs::test_it_leaks_and_fails - AssertionError: its own reason" in output
    assert "leaks of jobs" in output


def test_it_looks_in_each_process_of_xdist_and_says_the_same(project: Path) -> None:
    output = ran(project, "-n", "2")

    assert "2 workers [4 items]" in output
    assert "2 failed, 2 passed" in output
    assert "FAILED test_jobs.py::TestJobs::test_it_leaks - Failed: a job of this test leaked" in output
    assert "FAILED test_jobs.py::TestJobs::test_it_leaks_and_fails - AssertionError: its own reason" in output
    assert "context: job test_jobs.leaks of tenant acme left a scope open" in output
    assert "leaks of jobs" in output  # the section of a report, which has come from another process


def test_it_can_be_made_to_warn_or_not_to_look(project: Path) -> None:
    warned = ran(project, "-o", "tenantjobs_sentinel=warn", "-k", "test_it_leaks and not fails")
    off = ran(project, "-o", "tenantjobs_sentinel=off", "-k", "test_it_leaks and not fails")

    assert "1 passed" in warned
    assert "left a scope open" in warned
    assert "1 passed" in off
    assert "left a scope open" not in off


def test_another_mode_is_refused(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-o", "tenantjobs_sentinel=panic"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert "one of fail, warn, off is wanted" in done.stderr

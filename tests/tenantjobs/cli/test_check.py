from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tenantjobs import checks
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.errors import ConfigurationError
from tests.configuration import Run, write

JOBS = """\
import tenantjobs

class Account: ...

tenantjobs.configure(tenant=Account)

@tenantjobs.job(queue="mailers", name="welcome", aliases=("hello",))
def send_welcome(user_id: int) -> None: ...

@tenantjobs.job
def cleanup() -> None: ...
"""


class FakeAdapter:
    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        url: str = "memory"
        password: str | None = None
        limit: int = 5
        problem: str | None = None

    capabilities = Capabilities()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def enqueue(self, envelope: Any) -> None: ...
    def enqueue_all(self, envelopes: Any) -> None: ...
    def close(self) -> None: ...

    def work(self, options: WorkOptions) -> int:
        return 0

    def check(self) -> list[str]:
        if self.settings.problem == "raise":
            raise ConfigurationError("the queue is upside down")
        return [] if self.settings.problem is None else [self.settings.problem]


class OtherAdapter(FakeAdapter):
    capabilities = Capabilities(delay=True)


@pytest.fixture(autouse=True)
def project(folder: Path, install: Callable[[type], None]) -> None:
    install(FakeAdapter)
    write(folder, JOBS, "my_jobs.py")
    write(folder, 'adapter = "fake"\napp = "my_jobs"\n\n[fake]\nurl = "redis://ann:secret@host/0"\npassword = "abc"\n')


def lines(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def test_check_prints_each_value_with_its_source(tenantjobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_NAME", "shop")

    found = lines(tenantjobs("check").stdout)

    assert ["configuration", "(tenantjobs.toml)"] in found
    assert ["adapter", "'fake'", "tenantjobs.toml:1"] in found
    assert ["name", "'shop'", "TENANTJOBS_NAME"] in found
    assert ["tenancy", "'required'", "default"] in found
    assert ["tenant", "'my_jobs.Account'", "configure(tenant=...)"] in found
    assert ["fake.limit", "5", "default"] in found


def test_passwords_are_not_printed(tenantjobs: Run) -> None:
    output = tenantjobs("check").stdout + tenantjobs("check", "--json").stdout

    assert "secret" not in output
    assert "abc" not in output
    assert "redis://ann:***@host/0" in output


def test_check_lists_the_registered_jobs_once_each(tenantjobs: Run) -> None:
    output = tenantjobs("check").stdout

    assert "jobs (2)\n" in output
    assert ["welcome", "queue", "mailers", "my_jobs.send_welcome"] in lines(output)
    assert ["my_jobs.cleanup", "queue", "default"] in lines(output)


def test_check_as_json(tenantjobs: Run, folder: Path) -> None:
    report = json.loads(tenantjobs("check", "--json").stdout)

    assert report["ok"] is True
    assert report["file"] == str(folder / "tenantjobs.toml")
    assert report["values"]["adapter"] == {"value": "fake", "source": "tenantjobs.toml:1"}
    assert report["values"]["size_limit"] == {"value": 1048576, "source": "default"}
    assert report["jobs"][1] == {"name": "welcome", "queue": "mailers", "defined": "my_jobs.send_welcome"}
    assert report["problems"] == []


def test_problems_of_the_adapter_are_shown_and_make_the_exit_code_1(
    tenantjobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTJOBS_FAKE_PROBLEM", "the tables are old: run this")
    output = tenantjobs("check", exit_code=1).stdout

    assert output.endswith("problems (1)\n  the tables are old: run this\n")


def test_an_adapter_that_cannot_even_look_is_a_problem(tenantjobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_FAKE_PROBLEM", "raise")

    assert "the queue is upside down" in tenantjobs("check", exit_code=1).stdout


def test_all_mistakes_are_listed_those_of_sections_too_and_values_are_shown_all_the_same(
    tenantjobs: Run, folder: Path
) -> None:
    write(folder, 'adapter = "fake"\ntenancy = "requird"\napp = "my_jobs"\n[fake]\nlimt = 5\n')

    report = json.loads(tenantjobs("check", "--json", exit_code=1).stdout)

    assert report["problems"] == [
        "tenantjobs.toml:2: tenancy: 'requird' is none of required, optional, observe, none; did you mean required?",
        "tenantjobs.toml:5: unknown key 'limt' in [fake]; did you mean limit?",
    ]
    assert report["values"]["adapter"]["value"] == "fake"


def test_mistakes_in_a_section_alone_are_found(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "inline"\n[fake]\nlimit = "x"\n')

    assert "tenantjobs.toml:3: fake.limit: expected int, got str: 'x'" in tenantjobs("check", exit_code=1).stdout


def test_a_mistake_that_the_app_makes_is_found(tenantjobs: Run, folder: Path) -> None:
    write(folder, "import tenantjobs\ntenantjobs.configure(fake={'limit': 'x'})\n", "my_jobs.py")

    assert "configure(fake={'limit': ...}): expected int" in tenantjobs("check", exit_code=1).stdout


def test_an_app_that_raises_is_a_problem_and_no_traceback(tenantjobs: Run, folder: Path) -> None:
    write(folder, "1 / 0\n", "my_jobs.py")

    output = tenantjobs("check", exit_code=1).stdout

    assert "tenantjobs.toml:2: importing app = 'my_jobs' raised ZeroDivisionError: division by zero" in output


def test_an_app_that_is_not_there_is_a_problem(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "fake"\napp = "nowhere.main"\n')

    assert "app = 'nowhere.main' cannot be imported" in tenantjobs("check", exit_code=1).stdout


def test_a_queue_with_workers_and_no_app_is_a_problem(tenantjobs: Run, folder: Path) -> None:
    write(folder, 'adapter = "fake"\n')

    assert "no app is configured" in tenantjobs("check", exit_code=1).stdout


def test_no_configuration_at_all_is_a_problem(tenantjobs: Run, folder: Path) -> None:
    (folder / "tenantjobs.toml").unlink()

    output = tenantjobs("check", exit_code=1).stdout

    assert "configuration (no file)" in output
    assert "no adapter is configured" in output


def test_the_queue_that_is_drained_is_checked_as_well(
    tenantjobs: Run, folder: Path, install: Callable[..., None]
) -> None:
    install(OtherAdapter, "other")
    write(folder, 'adapter = "other"\napp = "my_jobs"\n[drain]\nadapter = "fake"\n[fake]\nproblem = "fake is full"\n')
    report = json.loads(tenantjobs("check", "--json", exit_code=1).stdout)

    assert report["problems"] == ["fake is full"]
    assert report["values"]["drain.adapter"] == {"value": "fake", "source": "tenantjobs.toml:4"}
    assert report["values"]["fake.limit"]["value"] == 5


def test_what_the_application_has_installed_adds_its_findings(
    folder: Path, tenantjobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_checks", [lambda: ["a policy is missing"]])
    write(folder, 'adapter = "inline"\n')
    output = tenantjobs("check", exit_code=1).output

    assert "problems (1)\n  a policy is missing" in output

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.configuration import Run, write

JOBS = """\
import tenantjobs

tenantjobs.configure(tenants=lambda: ["acme", "globex"])

@tenantjobs.job(name="report")
def report(what: str = "all") -> None: ...
"""
ENTRIES = """\
development:
  nightly: {class: report, schedule: every day at 2am, for_each_tenant: true, description: the report}
  hourly: {class: report, every: 1h, system: all of them}
"""


@pytest.fixture(autouse=True)
def project(folder: Path) -> Path:
    write(folder, 'adapter = "db"\napp = "recurring_shop"\n[db]\nurl = "sqlite:///jobs.db"\n')
    write(folder, JOBS, "recurring_shop.py")
    write(folder, ENTRIES, "config/recurring.yml")
    return folder


@pytest.fixture
def upgraded(tenantjobs: Run) -> None:
    tenantjobs("db", "upgrade")


def shown(tenantjobs: Run, *arguments: str) -> Any:
    return json.loads(tenantjobs("recurring", *arguments, "--json").output)


@pytest.mark.usefixtures("upgraded")
def test_entries_are_listed_with_their_next_time(tenantjobs: Run) -> None:
    hourly, nightly = shown(tenantjobs, "list")

    assert ("hourly", "report", ["0 * * * *"], "file") == tuple(
        hourly[name] for name in ("key", "job", "crons", "source")
    )
    assert ("each tenant", "system: all of them") == (nightly["scope"], hourly["scope"])
    assert nightly["next_at"].endswith("T02:00:00Z")
    assert "every day at 2am" in tenantjobs("recurring", "list").output


def test_a_preview_wants_no_database(tenantjobs: Run) -> None:
    (found,) = shown(tenantjobs, "preview", "nightly", "-n", "3")

    assert "At 02:00 every day (UTC)" == found["words"]
    assert 3 == len(found["times"])


def test_a_schedule_is_previewed_before_it_is_written_anywhere(tenantjobs: Run) -> None:
    output = tenantjobs("recurring", "preview", "every day at 9am and 17:30 America/New_York").output

    assert "30 17 * * *" in output
    assert "America/New_York" in output
    assert (
        "every 30 minutes and every hour" in tenantjobs("recurring", "preview", "every 45 minutes", exit_code=1).output
    )


@pytest.mark.usefixtures("upgraded")
def test_an_entry_is_run_paused_and_resumed(tenantjobs: Run) -> None:
    assert {"key": "nightly", "enqueued": 2} == shown(tenantjobs, "run", "nightly")
    assert {"key": "nightly", "enqueued": 1} == shown(tenantjobs, "run", "nightly", "--tenant", "acme")
    assert {"key": "nightly", "state": "paused"} == shown(tenantjobs, "pause", "nightly")
    assert shown(tenantjobs, "list")[1]["paused"]
    tenantjobs("recurring", "resume", "nightly")
    assert not shown(tenantjobs, "list")[1]["paused"]


@pytest.mark.usefixtures("upgraded")
def test_an_entry_that_is_not_there_is_refused(tenantjobs: Run) -> None:
    for verb in ("run", "pause", "resume"):
        assert "did you mean nightly?" in tenantjobs("recurring", verb, "nightyl", exit_code=1).output
    assert "did you mean nightly?" in tenantjobs("recurring", "preview", "nightyl", exit_code=1).output


@pytest.mark.usefixtures("upgraded")
def test_the_check_tells_every_mistake_of_the_file(tenantjobs: Run, folder: Path) -> None:
    tenantjobs("check")
    wrong = ENTRIES.replace("1h", "45m").replace("class: report, sch", "clas: report, sch")
    write(folder, wrong, "config/recurring.yml")
    output = tenantjobs("check", exit_code=1).output

    assert "recurring.yml:2:13: nightly: unknown key 'clas'; did you mean class?" in output
    assert "hourly: '45m': cron cannot say every 45 minutes" in output


def test_a_worker_does_not_start_with_a_file_that_is_wrong(tenantjobs: Run, folder: Path) -> None:
    write(folder, "development:\n  nightly: {class: report}\n", "config/recurring.yml")

    assert "say when" in tenantjobs("work", exit_code=1).output

"""`tenantjobs jobs list`, `stats`, `retry`, `discard`, `cancel`, `run-now`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tenantjobs import stored_jobs, testing
from tenantjobs.cli import bar, jobs, main
from tenantjobs.current import Current
from tenantjobs.stored import Handled
from tests.configuration import Run, write
from tests.tenantjobs.cli.test_jobs_command import Hidden, enqueued

pytest.importorskip("sqlalchemy")

ID = "01a22b4c-0395-70f6-a1d5-d9bf1addaead"  # of nothing


@pytest.fixture
def failing(render: Any) -> list[str]:
    """Two jobs of acme that have failed with a ValueError."""
    made = [enqueued(render, account=13) for _ in range(2)]
    testing.drain()
    return made


def test_one_that_runs_is_told_to_stop(render: Any, tenantjobs: Run, folder: Path) -> None:
    first, second = enqueued(render), enqueued(render)
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("UPDATE tj_jobs SET state = 'claimed', claimed_by = 'p'")
    connection.close()

    assert tenantjobs("jobs", "cancel", first).stdout == f"job {first} runs: it is told to stop\n"
    assert tenantjobs("jobs", "cancel", "--all", "-y").stdout == "0 jobs cancelled, 2 that run are told to stop\n"
    assert states() == {first: "running", second: "running"}


def states() -> dict[str, str]:
    with Current.system("test"):
        return {found.id: found.state for found in stored_jobs()}


def test_jobs_are_listed_newest_first_with_their_last_error(render: Any, tenantjobs: Run) -> None:
    first, second = enqueued(render, account=7), enqueued(render)
    testing.drain()

    heads, *rows = tenantjobs("jobs", "list").stdout.splitlines()

    assert heads.split("  ")[0] == "id"
    assert [row.split()[0] for row in rows] == [second, first]
    assert "ConnectionError: the renderer is away" in rows[1]
    assert [row.split()[2] for row in rows] == ["finished", "scheduled"]
    _, oldest, more = tenantjobs("jobs", "list", "--oldest", "--limit", "1").stdout.splitlines()
    assert oldest.split()[0] == first
    assert more == f"there may be more: --after {first}"
    assert tenantjobs("jobs", "list", "--queue", "low").stdout == "there are no such jobs\n"


def test_a_job_that_runs_is_running_wherever_it_is_shown(render: Any, tenantjobs: Run, folder: Path) -> None:
    job_id = enqueued(render)
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("UPDATE tj_jobs SET state = 'claimed', claimed_by = 'p', claimed_at = enqueued_at")
    connection.close()

    def shown(*arguments: str) -> Any:
        return json.loads(tenantjobs("jobs", *arguments, "--json").stdout)

    assert [found["id"] for found in shown("list", "--state", "running")] == [job_id]
    assert [found["id"] for found in shown("list", "--state", "claimed")] == [job_id], "as its row has it"
    assert {found["state"] for found in (*shown("list"), shown("show", job_id), shown("explain", job_id))} == {
        "running"
    }
    assert (shown("stats")["states"], *shown("stats")["oldest"]) == ({"running": 1}, "running")
    assert tenantjobs("jobs", "list").stdout.splitlines()[1].split()[2] == "running"
    assert "only one that is failed" in tenantjobs("jobs", "retry", job_id, exit_code=1).stderr
    assert "is running" in tenantjobs("jobs", "retry", job_id, exit_code=1).stderr


def test_a_name_that_the_application_does_not_define_is_pointed_out(render: Any, tenantjobs: Run) -> None:
    enqueued(render)

    told = tenantjobs("jobs", "list", "--job", "rendr")

    assert told.stdout == "there are no such jobs\n"
    assert told.stderr == "the application defines no job 'rendr': did you mean 'render'?\n"
    assert tenantjobs("jobs", "list", "--job", "render").stderr == ""


def test_a_page_goes_on_behind_an_id_however_it_is_written(render: Any, tenantjobs: Run) -> None:
    first, second = enqueued(render), enqueued(render)

    (found,) = json.loads(tenantjobs("jobs", "list", "--after", second.upper(), "--json").stdout)

    assert found["id"] == first


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--state", "running"), 0),
        (("--state", "ready", "--state", "scheduled"), 2),
        (("--tenant", "acme"), 2),
        (("--tenant", "globex"), 0),
        (("--no-tenant",), 0),
        (("--queue", "default"), 2),
        (("--job", "render"), 2),
        (("--error", "OSError"), 0),
        (("--worker", "17"), 0),
        (("--batch", ID), 0),
        (("--worker", ID), 0),
        (("--enqueued-after", "2h"), 2),
        (("--enqueued-before", "2h"), 0),
        (("--finished-after", "2026-01-01T00:00:00Z"), 0),
        (("--finished-before", "0s"), 0),
    ],
)
def test_options_say_which(render: Any, tenantjobs: Run, options: tuple[str, ...], found: int) -> None:
    enqueued(render)
    enqueued(render, wait=3600)

    assert len(json.loads(tenantjobs("jobs", "list", *options, "--json").stdout)) == found


def test_stats_say_what_there_is(render: Any, tenantjobs: Run) -> None:
    assert tenantjobs("jobs", "stats").stdout == "there are no such jobs\n"
    enqueued(render)
    testing.drain()
    enqueued(render)

    shown = tenantjobs("jobs", "stats", "--window", "120").stdout.splitlines()

    assert [line.split()[:2] for line in shown[:3]] == [["state", "jobs"], ["ready", "1"], ["finished", "1"]]
    assert "in the last 2 min: 2 enqueued, 1 finished" in shown
    assert ["acme", "1", "0", "0", "0", "0"] in [line.split()[:6] for line in shown]
    as_json = json.loads(tenantjobs("jobs", "stats", "--json").stdout)
    assert (as_json["states"], as_json["ended"]) == ({"ready": 1, "finished": 1}, {"finished": 1})


@pytest.mark.parity("1c.03")
def test_one_job_is_retried_and_discarded_by_its_id(failing: list[str], tenantjobs: Run) -> None:
    first, second = failing

    assert tenantjobs("jobs", "retry", first).stdout == f"job {first} is retried\n"
    assert "is ready: only one that is failed" in tenantjobs("jobs", "retry", first, exit_code=1).stderr
    assert json.loads(tenantjobs("jobs", "discard", second, "--json").stdout) == {"done": 1, "skipped": 0, "told": 0}
    assert "there is no job nonsense" in tenantjobs("jobs", "retry", "nonsense", exit_code=1).stderr
    assert states() == {first: "ready", second: "discarded"}


@pytest.mark.parity("1c.03")
def test_many_are_changed_when_somebody_agrees(failing: list[str], tenantjobs: Run) -> None:
    assert answered("n", "jobs", "retry", "--error", "ValueError").exit_code == 1
    assert set(states().values()) == {"failed"}

    agreed = answered("y", "jobs", "retry", "--error", "ValueError")
    assert agreed.stdout.splitlines()[-1] == "2 jobs retried"
    assert "2 jobs will be retried. Go on? [y/N]" in agreed.output
    assert set(states().values()) == {"ready"}

    discarded = tenantjobs("jobs", "discard", "--all", "--yes", "--reason", "no use", "--json")
    assert json.loads(discarded.stdout) == {"done": 2, "skipped": 0, "told": 0}
    assert tenantjobs("jobs", "discard", "--all").stdout == "0 jobs discarded\n", "nobody is asked about nothing"


def test_what_is_scheduled_is_run_now_and_what_waits_is_cancelled(render: Any, tenantjobs: Run) -> None:
    first, second = enqueued(render, wait=3600), enqueued(render, wait=3600)

    assert tenantjobs("jobs", "run-now", first).stdout == f"job {first} is due now\n"
    assert tenantjobs("jobs", "cancel", "--all", "-y").stdout == "2 jobs cancelled\n"
    assert states() == {first: "discarded", second: "discarded"}


def test_earlier_attempts_are_shown_and_all_of_them_as_json(
    failing: list[str], tenantjobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "EARLIER", 1)
    for _ in range(2):
        tenantjobs("jobs", "retry", failing[0])
        testing.drain()

    shown = tenantjobs("jobs", "show", failing[0]).stdout.splitlines()
    assert [line[: line.index(",")].strip() for line in shown if "attempt 1" in line] == [
        "in attempt 1",
        "before      attempt 1",
    ]
    assert shown[-1].strip() == "and 1 before those: --json has all of them, with their tracebacks"
    assert len(json.loads(tenantjobs("jobs", "show", failing[0], "--json").stdout)["history"]) == 3


@pytest.mark.parity("1b.35")
def test_a_queue_is_cleared_of_what_waits_in_it(render: Any, failing: list[str], tenantjobs: Run) -> None:
    first, second = enqueued(render), enqueued(render, wait=3600)
    other = enqueued(render, queue="low")

    assert answered("n", "queues", "clear", "default").exit_code == 1
    assert tenantjobs("queues", "clear", "default", "-y").stdout == "2 jobs discarded\n"
    assert states() == {**dict.fromkeys(failing, "failed"), first: "discarded", second: "discarded", other: "ready"}


def test_what_is_over_is_cleared(failing: list[str], tenantjobs: Run) -> None:
    assert tenantjobs("jobs", "clear", "--all", "-y").stdout == "0 jobs cleared\n"
    assert (
        tenantjobs("jobs", "clear", "--state", "failed", "--finished-before", "1d", "-y").stdout == "0 jobs cleared\n"
    )
    assert tenantjobs("jobs", "clear", failing[0]).stdout == f"job {failing[0]} is cleared\n"
    assert json.loads(tenantjobs("jobs", "clear", "--state", "failed", "-y", "--json").stdout)["done"] == 1
    assert states() == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("jobs", "retry"), "which jobs? Give an ID"),
        (("jobs", "retry", "7", "--queue", "low"), "leave one of them out"),
        (("jobs", "retry", "7", "--all"), "leave one of them out"),
        (
            ("jobs", "retry", "--state", "finished"),
            "no job that is finished can be retried: only one that is failed",
        ),
        (("jobs", "clear", "--state", "running", "--state", "failed"), "no job that is running can be cleared"),
        (("jobs", "run-now", "--state", "ready"), "only one that is scheduled"),
        (("jobs", "list", "--tenant", "7", "--no-tenant"), "leave one of them out"),
        (("jobs", "list", "--state", "faild"), "'faild' is not one of"),
        (("jobs", "list", "--enqueued-after", "yesterday"), "neither an age"),
        (("jobs", "list", "--enqueued-after", "2026-01-01"), "nor a moment with its zone"),
        (("jobs", "list", "--tenant", "0"), "cannot be the id of a tenant"),
        (("jobs", "list", "--after", "nonsense"), "give that of the last one of the page before"),
        (("jobs", "list", "--after", ""), "'' is no id of a job"),
        (("jobs", "list", "--limit", "10001"), "1<=x<=10000"),
        (("jobs", "list", "--batch", "nonsense"), "'nonsense' is no id of a batch"),
        (("jobs", "list", "--worker", "-1"), "`tenantjobs processes` has both"),
        (("jobs", "list", "--queue", ""), "leave the option out for any"),
        (("jobs", "list", "--job", " "), "leave the option out for any"),
        (("jobs", "list", "--error", ""), "leave the option out for any"),
        (("jobs", "list", "--enqueued-after", "1h", "--enqueued-before", "2h"), "nothing between them"),
        (("jobs", "clear", "--finished-after", "1h", "--finished-before", "2h"), "nothing between them"),
        (("jobs", "list", "--enqueued-before", "999999w"), "give a shorter age"),
        (("jobs", "list", "--enqueued-before", "9" * 30 + "w"), "give a shorter age"),
        (("jobs", "stats", "--window", "nan"), "nan is no number of seconds"),
        (("jobs", "stats", "--window", "inf"), "inf is no number of seconds"),
        (("jobs", "retry", "--all", "--batch-size", "10001"), "1<=x<=10000"),
        (("tenants", "list", "--window", "nan"), "nan is no number of seconds"),
        (("tenants", "rate", "acme", "off", "--per", "5"), "leave it out beside 'off'"),
        (("tenants", "drain", "acme", "--wait", "--timeout", "nan"), "nan is no number of seconds"),
        (("work", "--drain", "--shutdown-timeout", "nan"), "nan is no number of seconds"),
        (("recurring", "run", "report", "--tenant", "0"), "cannot be the id of a tenant"),
    ],
)
def test_what_is_not_clear_is_refused(render: Any, tenantjobs: Run, arguments: tuple[str, ...], told: str) -> None:
    assert told in tenantjobs(*arguments, exit_code=2).stderr


def test_nobody_is_asked_where_json_is_wanted(failing: list[str], tenantjobs: Run) -> None:
    assert "2 jobs would be retried" in tenantjobs("jobs", "retry", "--all", "--json", exit_code=2).stderr


def test_a_queue_without_such_a_view_says_so(folder: Path, tenantjobs: Run, install: Callable[..., None]) -> None:
    install(Hidden)
    write(folder, 'adapter = "fake"\n')

    assert "'fake' does not show its jobs" in tenantjobs("jobs", "list", exit_code=1).stderr


def test_work_on_many_is_drawn_in_a_terminal_and_wiped_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bar.telling(2) is None, "nobody would see it"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    tell = bar.telling(4)
    assert tell is not None
    tell(Handled(done=1, skipped=1))
    assert capsys.readouterr().err.endswith("[###############---------------]  50 %  2 of 4")
    tell(Handled(done=3, skipped=1))
    assert capsys.readouterr().err == "\r\033[K"


def answered(answer: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, input=f"{answer}\n")

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tenantjobs import job, testing
from tenantjobs.adapter import Capabilities
from tenantjobs.cli import bar, jobs
from tenantjobs.current import Current
from tenantjobs.progress import Progress
from tenantjobs.view import JobView
from tests.configuration import Run, write

pytest.importorskip("sqlalchemy")


def enqueued(render: Any, account: int = 1, **options: Any) -> str:
    with Current.set(tenant_id="acme"):
        job_id: str = render.set(**options).perform_later(account).job_id
    return job_id


def test_a_job_that_is_ready_waits_for_a_worker(render: Any, tenantjobs: Run) -> None:
    job_id = enqueued(render, priority=3)

    shown = tenantjobs("jobs", "show", job_id).stdout.splitlines()

    assert shown[0] == f"render {job_id}"
    assert "  state      ready" in shown
    assert "  waits for  a worker: none is running" in shown
    assert "  tenant     acme" in shown
    assert "  queue      default, priority 3" in shown
    assert "  attempts   0 so far" in shown


def test_one_that_was_tried_shows_its_progress_as_a_bar_and_its_last_error(render: Any, tenantjobs: Run) -> None:
    job_id = enqueued(render, account=7)
    testing.drain()

    shown = tenantjobs("jobs", "show", job_id).stdout

    assert "[#######-----------------------]  25 %  3 of 12" in shown
    assert "ConnectionError: the renderer is away" in shown
    assert "in attempt 1, " in shown
    assert "waits for   its time" in shown
    assert "1 so far" in shown


def test_one_that_is_blocked_says_by_whom(render: Any, tenantjobs: Run, folder: Path) -> None:
    first, second = enqueued(render), enqueued(render)
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("UPDATE tj_jobs SET state = 'blocked' WHERE id = ?", [second])
        connection.execute(
            "INSERT INTO tj_permits (key, number, tenant, owner, token, expires_at) VALUES (?, 0, 'acme', ?, 't', ?)",
            ["k", first, "2999-01-01 00:00:00.000000"],
        )
        connection.execute(
            "INSERT INTO tj_blocked (job_id, key, tenant, priority, permits, blocked_at)"
            " VALUES (?, 'k', 'acme', 0, 1, ?)",
            [second, "2026-01-01 00:00:00.000000"],
        )
    connection.close()

    shown = tenantjobs("jobs", "show", second).stdout

    assert f"a permit of the limit k: 1 of 1 taken by {first}, none before it" in shown


def test_one_that_is_over_says_how(render: Any, tenantjobs: Run) -> None:
    job_id = enqueued(render)
    testing.drain()

    shown = tenantjobs("jobs", "show", job_id).stdout

    assert "state     finished 20" in shown
    assert "waits for" not in shown


def test_as_json_it_is_all_that_is_known(render: Any, tenantjobs: Run) -> None:
    job_id = enqueued(render, account=7)
    testing.drain()

    shown = json.loads(tenantjobs("jobs", "show", job_id, "--json").stdout)

    assert (shown["id"], shown["state"], shown["tenant_id"], shown["attempts"]) == (job_id, "scheduled", "acme", 1)
    assert shown["progress"] == {"done": 3, "total": 12}
    assert shown["last_error"]["message"] == "the renderer is away"
    assert "Traceback" in shown["last_error"]["traceback"]
    assert "data" not in shown, "no arguments"


def test_a_job_that_there_is_not_is_an_error(render: Any, tenantjobs: Run) -> None:
    assert "there is no job nonsense in the queue" in tenantjobs("jobs", "show", "nonsense", exit_code=1).stderr


def test_a_queue_that_does_not_show_its_jobs_is_an_error(
    folder: Path, tenantjobs: Run, install: Callable[..., None]
) -> None:
    install(Hidden)
    write(folder, 'adapter = "fake"\n')

    assert "'fake' does not show its jobs" in tenantjobs("jobs", "show", "x", exit_code=1).stderr


def test_a_schema_of_another_release_says_what_to_do(render: Any, tenantjobs: Run, folder: Path) -> None:
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("DELETE FROM tj_schema WHERE version > 4")
    connection.close()

    assert "tenantjobs db upgrade" in tenantjobs("jobs", "show", "x", exit_code=1).stderr


def test_followed_it_is_shown_until_it_is_over(render: Any, tenantjobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    states = looks("ready", "running", "finished", progress=[3, 6, 12, 12])
    monkeypatch.setattr(jobs, "_found", lambda _job_id: next(states))
    monkeypatch.setattr(jobs, "LOOK", 0)
    monkeypatch.setattr(jobs, "LAST_LOOK", 0)

    shown = tenantjobs("jobs", "show", "7", "--follow").stdout.splitlines()

    assert shown[0] == "[#######-----------------------]  25 %  3 of 12  ready  render 7"
    assert shown[1] == "[###############---------------]  50 %  6 of 12  running  render 7"
    assert shown[2] == "[##############################] 100 %  12 of 12  finished  render 7"
    assert shown[3] == "render 7"


def test_one_that_fails_while_it_is_followed_has_exit_code_1(
    render: Any, tenantjobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = looks("running", "failed", progress=[3, 3, 3])
    monkeypatch.setattr(jobs, "_found", lambda _job_id: next(states))
    monkeypatch.setattr(jobs, "LOOK", 0)
    monkeypatch.setattr(jobs, "LAST_LOOK", 0)

    tenantjobs("jobs", "show", "7", "--follow", exit_code=1)


def test_a_bar_and_json_do_not_go_together(tenantjobs: Run) -> None:
    assert "leave one of them out" in tenantjobs("jobs", "show", "7", "--follow", "--json", exit_code=2).stderr


def test_what_a_job_returned_is_printed(folder: Path, render: Any, tenantjobs: Run) -> None:
    @job(name="add_up", keep_result=True)
    def add_up(first: int, second: int) -> dict[str, int]:
        return {"sum": first + second}

    with Current.set(tenant_id="acme"):
        job_id = add_up.perform_later(1, 2).job_id

    assert "is ready, and has no result" in tenantjobs("jobs", "result", job_id, exit_code=1).stderr
    testing.drain()
    assert json.loads(tenantjobs("jobs", "result", job_id).stdout) == {"sum": 3}
    assert "there is no job 4711" in tenantjobs("jobs", "result", "4711", exit_code=1).stderr


def test_a_queue_that_keeps_no_results_says_so(folder: Path, tenantjobs: Run, install: Callable[..., None]) -> None:
    install(Hidden)
    write(folder, 'adapter = "fake"\n')

    assert "'fake' keeps no results" in tenantjobs("jobs", "result", "7", exit_code=1).stderr


@pytest.mark.parametrize(
    ("progress", "drawn"),
    [
        (Progress(0, 10), "[------------------------------]   0 %  0 of 10"),
        (Progress(999, 1000), "[#############################-]  99 %  999 of 1000"),
        (Progress(12, 10), "[##############################] 100 %  12 of 10"),
        (Progress(0, 0), "[##############################] 100 %  0 of 0"),
        (Progress(1.5), "1.5 done"),
    ],
)
def test_a_bar_is_full_only_when_all_is_done(progress: Progress, drawn: str) -> None:
    assert bar.bar(progress) == drawn


def looks(*states: str, progress: list[float]) -> Iterator[JobView]:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    view = JobView(
        id="7", name="render", state="", queue="default", priority=0, tenant_id="acme", attempts=1, enqueued_at=moment,
        due_at=None, claimed_at=None, finished_at=None, worker=None, waits_for=None, reason=None, progress=None,
        last_error=None,
    )  # fmt: skip
    for state, done in zip((*states, states[-1]), progress, strict=True):
        yield msgspec.structs.replace(view, state=state, progress=Progress(done, 12))


class Hidden:
    """A queue that nobody can look into."""

    class Settings(msgspec.Struct, frozen=True):
        pass

    capabilities = Capabilities()

    def __init__(self, settings: Settings) -> None:
        pass

    def close(self) -> None:
        pass

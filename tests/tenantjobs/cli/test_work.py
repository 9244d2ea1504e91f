from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tenantjobs import adapter
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.cli import work
from tests.configuration import Run, write

JOBS = """\
import pathlib
import tenantjobs

@tenantjobs.job
def note(text: str) -> None:
    with pathlib.Path("notes.txt").open("a") as notes:
        notes.write(f"{tenantjobs.Current.tenant_id} {text}\\n")
"""


class NativeAdapter:
    """A queue that has workers of its own."""

    class Settings(msgspec.Struct): ...

    capabilities = Capabilities()
    how_to_work = "start `native worker shop`"

    def __init__(self, settings: Settings) -> None: ...
    def enqueue(self, envelope: Any) -> None: ...
    def enqueue_all(self, envelopes: Any) -> None: ...
    def close(self) -> None: ...


class WorkingAdapter(NativeAdapter):
    """A queue whose workers we start."""

    worked: ClassVar[list[WorkOptions]] = []

    def work(self, options: WorkOptions) -> int:
        self.worked.append(options)
        return 3


@pytest.fixture(autouse=True)
def worked(folder: Path, install: Callable[[type], None]) -> Iterator[list[WorkOptions]]:
    """The options that a worker was started with."""
    install(WorkingAdapter)
    write(folder, JOBS, "my_jobs.py")
    write(folder, 'adapter = "fake"\napp = "my_jobs"\n')
    yield WorkingAdapter.worked
    WorkingAdapter.worked.clear()


@pytest.fixture
def level() -> Iterator[Callable[[], str]]:
    """What the loggers of tenantjobs let through."""
    logger = logging.getLogger("tenantjobs")
    before = logger.level
    yield lambda: logging.getLevelName(logger.level)
    logger.setLevel(before)


def test_the_exit_code_is_that_of_the_worker(tenantjobs: Run, worked: list[WorkOptions]) -> None:
    tenantjobs("work", exit_code=3)

    assert worked == [WorkOptions()]


def test_the_options_reach_the_worker(tenantjobs: Run, worked: list[WorkOptions]) -> None:
    options = "-q mailers --queue low -q low --threads 8 --drain --shutdown-timeout 30 --polling-interval 0.5"

    tenantjobs("work", *options.split(), exit_code=3)

    assert worked == [
        WorkOptions(queues=("mailers", "low"), threads=8, drain=True, shutdown_timeout=30, polling_interval=0.5)
    ]


def test_the_app_is_imported_before_the_settings_are_used(
    tenantjobs: Run, folder: Path, worked: list[WorkOptions]
) -> None:
    write(folder, 'adapter = "inline"\napp = "my_jobs"\n')
    write(folder, JOBS + 'tenantjobs.configure(adapter="fake")\n', "my_jobs.py")

    tenantjobs("work", exit_code=3)

    assert len(worked) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-q", "mailers,low"), "is one name at a time: -q mailers -q low"),
        (("-q", "*", "-q", "low"), "write -q low"),
        (("-q", " "), "the name of a queue is empty"),
        (("--threads", "0"), "0 is not in the range x>=1"),
        (("--polling-interval", "0"), "0.0 is not in the range x>0"),
        (("--shutdown-timeout", "-1"), "-1.0 is not in the range x>=0"),
    ],
)
def test_wrong_usage_is_refused_with_what_to_write(
    tenantjobs: Run, worked: list[WorkOptions], arguments: tuple[str, ...], message: str
) -> None:
    assert message in tenantjobs("work", *arguments, exit_code=2).stderr
    assert worked == []


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("inline", "the adapter 'inline' has no worker to start here: each job is performed where it is enqueued"),
        ("test", "the adapter 'test' has no worker to start here: jobs wait in memory"),
    ],
)
def test_an_adapter_without_workers_says_what_performs_its_jobs(tenantjobs: Run, adapter: str, message: str) -> None:
    assert message in tenantjobs("--adapter", adapter, "work", exit_code=1).stderr


def test_an_adapter_with_native_workers_says_how_to_start_them(
    tenantjobs: Run, install: Callable[[type], None]
) -> None:
    install(NativeAdapter)

    assert "start `native worker shop`" in tenantjobs("work", exit_code=1).stderr


def test_for_a_queue_with_native_workers_it_relays_from_the_outbox(tenantjobs: Run, folder: Path) -> None:
    write(folder, JOBS + "import sqlalchemy\nengine = sqlalchemy.create_engine('sqlite:///shop.db')\n", "my_jobs.py")
    write(folder, 'adapter = "test"\napp = "my_jobs"\noutbox = true\n[db]\nengine = "my_jobs:engine"\n')
    result = tenantjobs("work", "--drain", exit_code=1)

    assert "run `tenantjobs db upgrade`" in result.stderr

    tenantjobs("db", "upgrade")
    tenantjobs("work", "--drain")


def test_without_an_app_a_worker_would_know_no_job(tenantjobs: Run, folder: Path, worked: list[WorkOptions]) -> None:
    write(folder, 'adapter = "fake"\n')

    assert "no app is configured" in tenantjobs("work", exit_code=1).stderr
    assert worked == []


def test_an_app_without_a_job_would_put_every_job_into_quarantine(
    tenantjobs: Run, folder: Path, worked: list[WorkOptions]
) -> None:
    write(folder, "", "my_jobs.py")

    message = "tenantjobs.toml:2: importing app = 'my_jobs' has defined no job"
    assert message in tenantjobs("work", exit_code=1).stderr
    assert message in tenantjobs("check", exit_code=1).stdout
    assert worked == []


def test_modules_beside_the_file_are_found_from_a_folder_below(
    tenantjobs: Run, folder: Path, worked: list[WorkOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep" / "below").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "below")

    tenantjobs("work", exit_code=3)

    assert len(worked) == 1


def test_without_any_configuration_it_says_what_to_write(tenantjobs: Run, folder: Path) -> None:
    (folder / "tenantjobs.toml").unlink()

    assert "no adapter is configured" in tenantjobs("work", exit_code=1).stderr


def test_an_error_of_the_app_keeps_its_traceback(tenantjobs: Run, folder: Path) -> None:
    write(folder, "1 / 0\n", "my_jobs.py")

    with pytest.raises(ZeroDivisionError):
        tenantjobs("work")


class WaitingAdapter(WorkingAdapter):
    """A queue in which jobs can wait, so that another one may be drained into it."""

    capabilities = Capabilities(delay=True)


@pytest.fixture
def swapped(folder: Path, install: Callable[..., None]) -> None:
    """Jobs are enqueued to ``waiting``, and ``fake`` is drained."""
    install(WaitingAdapter, "waiting")
    write(folder, 'adapter = "waiting"\napp = "my_jobs"\n[drain]\nadapter = "fake"\n')


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The commands that would be run side by side."""
    started: dict[str, Any] = {}

    def supervise(commands: Any, *, drain: bool) -> int:
        started.update(commands, drain=drain)
        return 4

    monkeypatch.setattr(work, "supervise", supervise)
    return started


def test_beside_a_worker_that_knows_no_outbox_a_process_relays(
    tenantjobs: Run, folder: Path, supervised: dict[str, Any]
) -> None:
    write(folder, JOBS + "import sqlalchemy\nengine = sqlalchemy.create_engine('sqlite:///shop.db')\n", "my_jobs.py")
    write(folder, 'adapter = "fake"\napp = "my_jobs"\noutbox = true\n[db]\nengine = "my_jobs:engine"\n')

    tenantjobs("work", exit_code=4)

    assert list(supervised) == ["fake", "outbox", "drain"]


@pytest.mark.usefixtures("swapped")
def test_with_a_drain_each_of_the_two_queues_has_a_process_of_this_very_command(
    tenantjobs: Run, supervised: dict[str, Any]
) -> None:
    tenantjobs("--config", "tenantjobs.toml", "work", "-q", "low", "--drain", exit_code=4)

    this = [sys.executable, "-m", "tenantjobs.cli", "--config", "tenantjobs.toml", "work", "-q", "low", "--drain"]
    assert supervised == {"waiting": [*this, "--from", "waiting"], "fake": [*this, "--from", "fake"], "drain": True}


@pytest.mark.usefixtures("swapped")
@pytest.mark.parametrize("name", ["waiting", "fake"])
def test_one_of_the_two_queues_can_be_served_alone_while_jobs_are_enqueued_to_the_new_one(
    tenantjobs: Run, worked: list[WorkOptions], name: str
) -> None:
    tenantjobs("work", "--from", name, exit_code=3)

    assert worked == [WorkOptions()]
    assert adapter.configured() is adapter.built("waiting")


@pytest.mark.usefixtures("swapped")
def test_a_queue_that_is_not_served_cannot_be_served_alone(tenantjobs: Run, worked: list[WorkOptions]) -> None:
    result = tenantjobs("work", "--from", "db", exit_code=2)

    assert "'db' is not served here: 'waiting' and 'fake'" in result.stderr
    assert worked == []


@pytest.mark.parametrize(
    ("adapter", "drained", "problem"),
    [
        (
            "waiting",
            "waiting",
            "tenantjobs.toml:4: [drain] adapter = 'waiting' is the adapter that jobs are enqueued to",
        ),
        ("waiting", "inline", "[drain]: the adapter 'inline' has no worker to start here"),
        ("inline", "waiting", "the adapter 'inline' does not declare 'delay'"),
    ],
)
def test_a_drain_that_cannot_be_is_refused_and_found_by_check(
    tenantjobs: Run,
    folder: Path,
    install: Callable[..., None],
    worked: list[WorkOptions],
    adapter: str,
    drained: str,
    problem: str,
) -> None:
    install(WaitingAdapter, "waiting")
    write(folder, f'adapter = "{adapter}"\napp = "my_jobs"\n[drain]\nadapter = "{drained}"\n')

    assert problem in tenantjobs("work", exit_code=1).stderr
    assert problem in tenantjobs("check", exit_code=1).stdout
    assert worked == []


def test_logging_that_the_application_has_set_up_is_left_alone(
    tenantjobs: Run, level: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    before = level()

    tenantjobs("work", exit_code=3)

    assert level() == before


def test_the_log_level_can_be_asked_for(tenantjobs: Run, level: Callable[[], str]) -> None:
    tenantjobs("work", "--log-level", "warning", exit_code=3)

    assert level() == "WARNING"


def test_a_worker_in_its_own_process_performs_what_another_process_enqueued(folder: Path) -> None:
    write(folder, 'adapter = "db"\napp = "my_jobs"\n[db]\nurl = "sqlite:///jobs.db"\n')
    enqueue = "import tenantjobs, my_jobs\nwith tenantjobs.Current.set(tenant_id=7): my_jobs.note.perform_later('hi')"
    subprocess.run([sys.executable, "-c", enqueue], cwd=folder, check=True)

    command = [str(Path(sys.executable).with_name("tenantjobs")), "work", "--drain"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert (folder / "notes.txt").read_text() == "7 hi\n"
    assert "finished my_jobs.note" in done.stderr


class SupervisingAdapter(WorkingAdapter):
    """A queue whose work several processes can share."""

    plan: ClassVar[str | None] = None
    supervised: ClassVar[list[tuple[WorkOptions, int | None, list[str]]]] = []
    served: ClassVar[list[str]] = []

    def supervise(self, options: WorkOptions, processes: int | None, command: list[str]) -> int:
        self.supervised.append((options, processes, command))
        return 4

    def serve(self, assignment: str) -> int:
        self.served.append(assignment)
        return 5


@pytest.fixture
def supervising(install: Callable[[type], None], monkeypatch: pytest.MonkeyPatch) -> type[SupervisingAdapter]:
    install(SupervisingAdapter)
    monkeypatch.setattr(SupervisingAdapter, "plan", None)
    monkeypatch.setattr(SupervisingAdapter, "supervised", [])
    monkeypatch.setattr(SupervisingAdapter, "served", [])
    return SupervisingAdapter


def test_a_number_of_processes_asks_for_a_supervisor(tenantjobs: Run, supervising: type[SupervisingAdapter]) -> None:
    tenantjobs("work", "--processes", "2", "--threads", "8", exit_code=4)

    this = [sys.executable, "-m", "tenantjobs.cli", "work", "--processes", "2", "--threads", "8"]
    assert supervising.supervised == [(WorkOptions(threads=8), 2, [*this, "--from", "fake", "--as"])]


def test_a_plan_asks_for_one_too(
    tenantjobs: Run, supervising: type[SupervisingAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "plan", "config/queue.yml")

    tenantjobs("work", "--shutdown-timeout", "9", exit_code=4)

    ((options, processes, _),) = supervising.supervised
    assert (options, processes) == (WorkOptions(shutdown_timeout=9), None)


@pytest.mark.parametrize("option", ["--queue low", "--threads 3", "--polling-interval 1", "--drain"])
@pytest.mark.parity("1b.28")
def test_a_command_line_that_says_what_one_process_does_is_for_one_process(
    tenantjobs: Run,
    supervising: type[SupervisingAdapter],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    option: str,
) -> None:
    monkeypatch.setattr(supervising, "plan", "config/queue.yml")

    with caplog.at_level(logging.INFO, "tenantjobs.cli"):
        tenantjobs("work", *option.split(), exit_code=3)

    assert supervising.supervised == []
    assert f"config/queue.yml is not used: {option.split()[0]} says" in caplog.text


def test_a_process_of_a_supervisor_gets_its_assignment(
    tenantjobs: Run, supervising: type[SupervisingAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work.signals, "hold", lambda: None)

    tenantjobs("work", "--processes", "2", "--as", "{}", exit_code=5)

    assert supervising.served == ["{}"]


def test_several_processes_are_refused_where_there_is_no_supervisor_and_where_nothing_is_left(
    tenantjobs: Run, worked: list[WorkOptions]
) -> None:
    refused = tenantjobs("work", "--processes", "2", exit_code=1)
    drained = tenantjobs("work", "--processes", "2", "--drain", exit_code=2)

    assert "the adapter 'fake' has no supervisor" in refused.stderr
    assert "--drain is for one process" in drained.stderr
    assert worked == []


def test_health_reaches_a_worker_that_can_say_it(tenantjobs: Run, supervising: type[SupervisingAdapter]) -> None:
    tenantjobs("work", "--health", "8080", exit_code=3)
    tenantjobs("work", "--health", "0.0.0.0:8081", exit_code=3)

    assert [options.health for options in supervising.worked] == [("127.0.0.1", 8080), ("0.0.0.0", 8081)]


def test_health_is_refused_where_nobody_can_say_it(tenantjobs: Run, worked: list[WorkOptions]) -> None:
    assert "does not say how it is" in tenantjobs("work", "--health", "8080", exit_code=1).stderr
    assert "is no [HOST:]PORT" in tenantjobs("work", "--health", "http", exit_code=2).stderr
    assert worked == []


def test_a_pidfile_is_kept_while_the_worker_works(
    tenantjobs: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def look(_self: WorkingAdapter, _options: WorkOptions) -> int:
        found.append((folder / "work.pid").read_text())
        return 0

    monkeypatch.setattr(WorkingAdapter, "work", look)
    tenantjobs("work", "--pidfile", "work.pid")

    assert found == [f"{os.getpid()}\n"]
    assert not (folder / "work.pid").exists()


def test_reload_runs_the_same_command_without_what_is_for_one_process(
    tenantjobs: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Reloader:
        def __init__(self, command: list[str], folders: list[Path], *, patience: float) -> None:
            made.append((command, folders, patience))

        def run(self) -> int:
            return 6

    monkeypatch.setattr(work, "Reloader", Reloader)
    tenantjobs("work", "--reload", "--threads", "2", "--pidfile", "work.pid", "--pidfile=other.pid", exit_code=6)

    this = [sys.executable, "-m", "tenantjobs.cli", "work", "--threads", "2"]
    assert made == [(this, [folder], WorkOptions().shutdown_timeout)]


def test_reload_is_refused_where_nothing_is_left(tenantjobs: Run) -> None:
    assert "leave --reload out" in tenantjobs("work", "--reload", "--drain", exit_code=2).stderr

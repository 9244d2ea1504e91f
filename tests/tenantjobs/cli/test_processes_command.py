from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tenantjobs.view import ProcessView
from tests.configuration import Run, write
from tests.tenantjobs.cli.test_work import NativeAdapter

WORKER = ProcessView(
    id="2",
    kind="worker",
    host="web-1",
    pid=42,
    supervisor="1",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    heartbeat_age=3.2,
    alive=True,
    threads=5,
    queues=("critical", "low"),
    running=2,
)


class ShowingAdapter(NativeAdapter):
    """A queue that knows who works on it."""

    found: Any = ()

    def processes(self) -> list[ProcessView]:
        return list(self.found)


def test_processes_are_listed_below_their_supervisor(
    tenantjobs: Run, folder: Path, install: Callable[[type], None], monkeypatch: Any
) -> None:
    head = msgspec.structs.replace(
        WORKER, id="1", kind="supervisor", pid=41, supervisor=None, threads=None, queues=(), running=0
    )
    dead = msgspec.structs.replace(WORKER, id="3", pid=43, heartbeat_age=90.0, alive=False)
    monkeypatch.setattr(ShowingAdapter, "found", (head, WORKER, dead))
    install(ShowingAdapter)
    write(folder, 'adapter = "fake"\n')

    lines = tenantjobs("processes").output.splitlines()

    assert [line.split() for line in lines] == [
        ["kind", "process", "heartbeat", "running", "queues"],
        ["supervisor", "41", "on", "web-1", "3", "s", "ago", "0"],
        ["worker", "42", "on", "web-1", "3", "s", "ago", "2", "of", "5", "critical,", "low"],
        ["worker", "43", "on", "web-1", "90", "s", "ago:", "dead", "2", "of", "5", "critical,", "low"],
    ]
    assert lines[2].startswith("  worker")
    assert msgspec.json.decode(tenantjobs("processes", "--json").output, type=list[ProcessView])[1] == WORKER


def test_without_any_it_says_how_to_start_one(tenantjobs: Run, folder: Path, install: Callable[[type], None]) -> None:
    install(ShowingAdapter)
    write(folder, 'adapter = "fake"\n')

    assert "no process works on the queue: `tenantjobs work`" in tenantjobs("processes").output


def test_a_queue_that_does_not_show_them_says_where_to_look(
    tenantjobs: Run, folder: Path, install: Callable[[type], None]
) -> None:
    install(NativeAdapter)
    write(folder, 'adapter = "fake"\n')

    assert "the adapter 'fake' does not show its processes" in tenantjobs("processes", exit_code=1).stderr

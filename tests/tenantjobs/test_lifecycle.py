from __future__ import annotations

import logging
from typing import Any

import pytest

from tenantjobs import lifecycle, testing
from tenantjobs.lifecycle import Process

WORKER = Process(kind="worker", id="1", threads=3, queues=("low",))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for hooks in lifecycle.HOOKS.values():
        monkeypatch.setattr(hooks, "_functions", [])


@pytest.mark.parity("1b.36")
def test_hooks_run_in_order_with_the_process_if_they_take_one() -> None:
    ran: list[Any] = []
    lifecycle.on_worker_start(lambda: ran.append("first"))

    @lifecycle.on_worker_start
    def second(process: Process) -> None:
        ran.append((process.kind, process.queues))

    @lifecycle.on_worker_start
    async def third(process: Process) -> None:
        ran.append(process.threads)

    lifecycle.run("start", WORKER)

    assert ran == ["first", ("worker", ("low",)), 3]


@pytest.mark.parametrize(
    ("kind", "moment"), [(kind, moment) for kind, moment in lifecycle.HOOKS if (kind, moment) != ("worker", "stop")]
)
def test_a_hook_runs_at_its_moment_in_its_kind_of_process_only(kind: str, moment: str) -> None:
    ran: list[str] = []
    lifecycle.on_worker_stop(lambda: ran.append("stop"))

    lifecycle.run(moment, Process(kind=kind, id="1"))

    assert ran == []


def test_each_hook_is_named_by_its_process_and_moment() -> None:
    named = {("supervisor", moment): getattr(lifecycle, f"on_{moment}") for moment in ("start", "stop", "exit")}
    named |= {
        (kind, moment): getattr(lifecycle, f"on_{kind}_{moment}")
        for kind in ("worker", "dispatcher", "scheduler", "gate")
        for moment in ("start", "stop", "exit")
    }

    assert named == lifecycle.HOOKS


@pytest.mark.parity("1b.36")
def test_an_error_is_logged_and_reported_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []
    reported: list[Any] = []

    @lifecycle.on_worker_exit
    def fails() -> None:
        raise ZeroDivisionError

    lifecycle.on_worker_exit(lambda: ran.append("next"))

    def reporter(error: BaseException, *, handled: bool, context: Any) -> None:
        reported.append((type(error), handled, context["process"], context["moment"]))

    with testing.override(error_reporters=(reporter,)), caplog.at_level(logging.ERROR, "tenantjobs.lifecycle"):
        lifecycle.run("exit", WORKER)

    assert ran == ["next"]
    assert reported == [(ZeroDivisionError, True, "worker", "exit")]
    assert "on_worker_exit" in caplog.text

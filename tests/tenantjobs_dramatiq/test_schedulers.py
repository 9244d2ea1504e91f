"""What the page about carriage says of schedulers, run as it stands there."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import dramatiq
import pendulum
import periodiq
import pytest
from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from dramatiq.brokers.stub import StubBroker

import tenantjobs_dramatiq
from tenantjobs.current import Current
from tests.tenantjobs_dramatiq.servers import ROOT

PAGE = ROOT / "docs" / "carry-the-tenant-on-dramatiq.md"


def recipe(name: str) -> Any:
    """The block of the page that uses this library, compiled."""
    section = PAGE.read_text().split("### Schedulers\n")[1].split("\n### ")[0]
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if name in block)
    return compile(block, str(PAGE), "exec")


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module ``shop``, whose broker a scheduler sends to and a worker performs from."""
    module: Any = ModuleType("shop")
    module.broker = StubBroker(middleware=[periodiq.PeriodiqMiddleware()])
    module.seen = []
    tenantjobs_dramatiq.install(module.broker)
    monkeypatch.setitem(sys.modules, "shop", module)

    def build_all() -> None:
        module.seen.append(Current.scope)

    module.build_all = dramatiq.actor(build_all, broker=module.broker, periodic=periodiq.cron("0 2 * * *"))
    yield module
    module.broker.close()


def perform(shop: Any) -> list[str]:
    """The scopes in which the messages that have been sent are performed."""
    worker = dramatiq.Worker(shop.broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        shop.broker.join("default", fail_fast=True, timeout=10_000)
        worker.join()
    finally:
        worker.stop()
    return list(shop.seen)


def test_an_actor_that_apscheduler_sends_runs_in_the_scope_of_its_schedule(shop: Any) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    given = {"build_all": shop.build_all, "scheduler": scheduler, "CronTrigger": CronTrigger}
    sent = threading.Event()
    scheduler.add_listener(lambda _: sent.set(), EVENT_JOB_EXECUTED)

    exec(recipe("CronTrigger"), {**given, "Current": Current, "tenantjobs_dramatiq": tenantjobs_dramatiq})  # noqa: S102
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        assert job.next_run_time.hour == 2
        job.modify(next_run_time=datetime.now(UTC))
        scheduler.resume()
        assert sent.wait(10)
    finally:
        scheduler.shutdown()

    assert perform(shop) == ["system"]


def test_an_actor_that_periodiq_sends_runs_in_the_scope_that_it_was_started_in(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for its hour by an alarm of this process. Here the hour has come at once, and then it ends.
    monkeypatch.setattr(periodiq.Scheduler, "schedule", lambda self: self.send_actors(self.actors, pendulum.now()))
    monkeypatch.setattr(periodiq.Scheduler, "loop", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["periodic.py", "shop:broker"])

    with pytest.raises(SystemExit) as ended:
        exec(recipe("periodiq"), {"__name__": "__main__"})  # noqa: S102

    assert ended.value.code == 0
    assert perform(shop) == ["system"]

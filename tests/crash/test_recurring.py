"""Schedulers are killed at random while they enqueue: each tick has its jobs, one for each tenant, and no more."""

from __future__ import annotations

import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select, text

from tenantjobs_db.tables import ticks as made
from tests.crash.worker import exit_code, start_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TENANTS = 40
ENTRIES = """
development:
  each: {class: recorded, schedule: every second, for_each_tenant: true, catch_up: all}
  system: {class: recorded, schedule: every second, system: everything, catch_up: all}
"""
SCHEDULE = f"""
import tenantjobs
from tenantjobs import job

@job(name="recorded", tenancy="optional")
def recorded() -> None: ...

tenantjobs.configure(tenants=lambda: map("t{{}}".format, range({TENANTS})))
from tenantjobs.recurring import Scheduler, scheduler
scheduler.PAGE = 7
running = Scheduler().running()
running.__enter__()
import time
time.sleep(60)
"""


def test_killed_schedulers_enqueue_each_tick_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "recurring.yml").write_text(ENTRIES)
    environment = {
        "TENANTJOBS_ADAPTER": "db",
        "TENANTJOBS_RECURRING": str(tmp_path / "recurring.yml"),
        "TENANTJOBS_DB_URL": url,
    }
    engine = create_engine(url)
    upgrade = "from tenantjobs import adapter; from tenantjobs_db import schema\n"
    upgrade += "schema.upgrade(adapter.configured().database.engine)"
    assert exit_code(start_python(environment, upgrade)) == 0
    chance = random.Random(7)
    faults = ["", "before_recurring:5", "after_recurring:3", "after_recurring:9"]
    living: list[BaseProcess] = []
    killed = 0
    until = time.monotonic() + 12
    try:
        while time.monotonic() < until:
            living = [process for process in living if process.is_alive()]
            while len(living) < 3:
                living.append(start_python(environment | {"TENANTJOBS_FAULT": chance.choice(faults)}, SCHEDULE))
            time.sleep(chance.uniform(0.2, 1.2))
            victim = chance.choice(living)
            killed += victim.is_alive()
            victim.kill()
            victim.join()
        time.sleep(2)
    finally:
        for process in living:
            process.kill()
            process.join()
    # Whoever was stopped half way left the rest of a tick to another one: the last is let finish.
    assert exit_code(start_python(environment, SCHEDULE.replace("time.sleep(60)", "time.sleep(4)"))) == 0

    with engine.connect() as connection:
        tick = (made.c.key, made.c.due_at)
        ticks = connection.execute(select(*tick, func.count()).group_by(*tick).order_by(made.c.due_at)).all()
        jobs = connection.execute(text("SELECT count(*) FROM tj_jobs")).scalar_one()
        per_tenant = connection.execute(text("SELECT tenant, count(*) FROM tj_jobs GROUP BY tenant")).all()
    engine.dispose()
    counts = {key: [row[2] for row in ticks if row[0] == key] for key in ("each", "system")}

    assert killed > 5
    assert jobs == sum(sum(each) for each in counts.values())  # a job for each tick, and no job without one
    assert len(counts["system"]) >= 10
    assert set(counts["system"]) == {1}
    assert set(counts["each"][:-1]) <= {TENANTS}
    assert len(per_tenant) == TENANTS + 1

"""A swap in production, on real brokers, with a real worker command: nothing is lost, nothing is doubled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.swap.enqueue import TENANTS
from tests.swap.site import Site, site

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.postgres]

SWAPS = {
    "celery-on-rabbitmq-to-db-on-postgres": ("celery", "db", "postgres", "RabbitMQ"),
    "celery-on-redis-to-dramatiq-on-redis": ("celery", "dramatiq", "sqlite", "Redis"),
    "dramatiq-on-rabbitmq-to-rq": ("dramatiq", "rq", "sqlite", "RabbitMQ"),
    "rq-to-celery-on-redis": ("rq", "celery", "sqlite", "Redis"),
    "db-on-sqlite-to-dramatiq-on-rabbitmq": ("db", "dramatiq", "sqlite", "RabbitMQ"),
}


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    _, _, database, broker = request.param
    with site(tmp_path, database, broker) as made:
        yield made


@pytest.mark.parametrize(("swap", "made"), [(swap, swap) for swap in SWAPS.values()], ids=SWAPS, indirect=["made"])
def test_jobs_of_both_queues_are_performed_once_with_delays_and_retries_in_flight(
    swap: tuple[str, str, str, str], made: Site
) -> None:
    old, new = swap[:2]
    made.configure(adapter=old)
    made.run("tests.swap.enqueue", "performed by then")
    with made.working():
        made.until(lambda: _seen(made, "performed by then: retried") == len(TENANTS), "the first attempts")
        made.until(lambda: _seen(made, "performed by then: now") == len(TENANTS), "the first jobs")
    made.run("tests.swap.enqueue", "left behind")

    made.configure(adapter=new, drain_adapter=old)
    assert "no problems" in made.run("tenantjobs.cli", "check")
    made.run("tests.swap.enqueue", "new")
    with made.working():
        made.until(lambda: len(made.effects()) >= len(_expected()), "all of them")
        time.sleep(1.0)  # for one that is doubled

    assert Counter((effect.what, effect.tenant_id, effect.attempt) for effect in made.effects()) == _expected()
    assert len({effect.job_id for effect in made.effects()}) == 9 * len(TENANTS)
    assert {effect.value for effect in made.effects()} == {"the only worker", old, new}
    assert {effect.value for effect in made.effects() if effect.what == "new: now"} == {new}
    assert {effect.value for effect in made.effects() if effect.what == "left behind: now"} == {old}
    assert {old: made.left(old), new: made.left(new)} == {old: 0, new: 0}
    last = {effect.value for effect in made.effects() if effect.what == "left behind: retried" and effect.attempt == 3}
    # The database queue keeps a job and its attempts in one row, and goes on with it; elsewhere a retry is a message.
    assert last == {"db" if old == "db" else new}


def _seen(made: Site, what: str) -> int:
    return sum(effect.what == what for effect in made.effects())


def _expected() -> Counter[tuple[str, str | None, int]]:
    attempts = {"now": (1,), "delayed": (1,), "retried": (1, 2, 3)}
    return Counter(
        (f"{label}: {kind}", tenant, attempt)
        for label in ("performed by then", "left behind", "new")
        for kind, numbers in attempts.items()
        for tenant in TENANTS
        for attempt in numbers
    )

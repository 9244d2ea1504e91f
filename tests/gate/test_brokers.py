"""The gate before real brokers, with the real command and its processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantjobs_db.database import own
from tenantjobs_db.queue import Queue
from tests.swap.site import Site, site

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]

SMALL = [f"small-{number}" for number in range(9)]
DEPTH = 8


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    adapter, broker = request.param
    with site(tmp_path, "sqlite", broker) as made:
        made.configure(
            app="tests.gate.app",
            adapter="db",
            gate_adapter=adapter,
            gate_depth=str(DEPTH),
        )
        yield made


def on(*brokers: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("made", brokers, ids="-on-".join, indirect=True)


def _counts(made: Site) -> dict[str, int]:
    database = own(made.database)
    counts = Queue(database).counts()
    database.close()
    return dict(counts)


@on(("celery", "RabbitMQ"), ("dramatiq", "RabbitMQ"), ("rq", "Redis"))
def test_small_tenants_are_through_while_another_one_floods(made: Site) -> None:
    flood = ["note", "noisy", "2000", *(word for tenant in SMALL for word in ("note", tenant, "1"))]
    made.run("tests.gate.enqueue", *flood, "third_time_lucky", "acme", "1")
    with made.working():
        made.until(lambda: _seen(made) >= {*SMALL, "acme"}, "the small tenants")
        made.until(lambda: [effect.what for effect in made.effects()].count("tried") == 3, "the retries")
    tenants = [str(effect.tenant_id) for effect in made.effects()]

    assert max(tenants.index(tenant) for tenant in (*SMALL, "acme")) < 5 * DEPTH
    assert Counter(tenant for tenant in tenants if tenant in SMALL) == dict.fromkeys(SMALL, 1)
    assert _counts(made).get("claimed", 0) <= DEPTH
    # A gate lets in only what the broker has room for: nearly all of the flood still waits in the table.
    assert made.left("db") + len(tenants) - 2 == 2010


@on(("rq", "Redis"))
@pytest.mark.parametrize("point", ["before_publish", "after_publish"])
def test_a_gate_that_is_killed_loses_and_doubles_nothing(made: Site, point: str) -> None:
    made.configure(gate_lease="3")
    made.run("tests.gate.enqueue", "note", "acme", "5")
    made.environment["TENANTJOBS_FAULT"] = point
    with pytest.raises(AssertionError), made.working():
        made.until(lambda: "-9" in made.log(), "the gate's death")
    del made.environment["TENANTJOBS_FAULT"]
    with made.working():
        made.until(lambda: _counts(made) == {"finished": 5}, "all of them")

    assert len(made.effects()) == 5


@on(("rq", "Redis"), ("celery", "Redis"))
def test_a_job_whose_worker_is_killed_is_performed_by_another(made: Site) -> None:
    made.configure(db_lease="3")
    made.run("tests.gate.enqueue", "deadly", "acme", "1")
    with made.working():
        made.until(lambda: _counts(made) == {"finished": 1}, "its second life")

    assert ["survived"] == [effect.what for effect in made.effects()]


def _seen(made: Site) -> set[str]:
    return {str(effect.tenant_id) for effect in made.effects()}

"""A tenant that is drained takes nothing new, and what it has runs out."""

from __future__ import annotations

import pytest

from tenantjobs import Current, TenantClosed, TenantGone, batch, chain, job, testing
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.closing import PURGED, PURGING, Closing
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tests.tenantjobs_db.making import envelope, envelopes


@pytest.fixture
def controls(database: Database) -> Controls:
    return Controls(database)


def test_nothing_new_is_taken_for_a_tenant_that_is_drained(queue: Queue, controls: Controls) -> None:
    waiting = envelope("acme")
    queue.enqueue([waiting])

    assert controls.drain("acme", reason="moves away")
    assert not controls.drain("acme")

    for new in ([envelope("acme")], [envelope("globex"), envelope("acme")]):
        with pytest.raises(TenantClosed, match="tenant acme takes no new jobs: it is being drained"):
            queue.enqueue(new)
    queue.enqueue(envelopes(3, "globex"))
    assert queue.counts() == {"ready": 4}
    found = controls.find("tenant", "acme")
    assert found is not None
    assert (found.closed, found.closed_for, found.paused) == ("draining", "moves away", False)
    assert controls.all() == [found]

    assert controls.open("acme")
    assert not controls.open("acme")
    queue.enqueue([envelope("acme")])


def test_what_waits_for_a_drained_tenant_runs_with_all_that_follows_it(adapter: DatabaseAdapter) -> None:
    performed: list[str] = []

    @job(name="step")
    def step(what: str) -> None:
        performed.append(what)
        if what == "first":
            step.perform_later("enqueued by a job")

    with Current.set(tenant_id="acme"):
        chain(step.call("first"), step.call("next in the chain")).perform_later()
        with batch(on_success=step.call("callback")):
            step.perform_later("in a batch")
        adapter.controls.drain("acme")
        with pytest.raises(TenantClosed):
            step.perform_later("from outside")
        with pytest.raises(TenantClosed), batch(on_success=step.call("callback")):
            pass  # what leaves is the callback
    assert testing.drain() == 5

    assert sorted(performed) == ["callback", "enqueued by a job", "first", "in a batch", "next in the chain"]


@pytest.mark.parametrize("state", [PURGING, PURGED])
def test_a_purged_tenant_takes_nothing_and_is_opened_only_on_purpose(
    database: Database, queue: Queue, controls: Controls, state: str
) -> None:
    with database.begin() as connection:
        Closing(database).bury(connection, "acme", state)  # type: ignore[arg-type]  # one of the states

    with pytest.raises(TenantGone, match="tenant acme was purged"):
        queue.enqueue([envelope("acme")])
    with pytest.raises(TenantGone):
        controls.drain("acme")
    with pytest.raises(TenantGone):
        controls.open("acme")
    with pytest.raises(TenantGone):
        controls.resume("tenant", "acme")
    if state == PURGED:
        assert controls.all() == []
        assert controls.open("acme", purged=True)
        queue.enqueue([envelope("acme")])
    else:
        with pytest.raises(TenantGone, match="being purged since"):
            controls.open("acme", purged=True)


def test_a_closed_tenant_is_found_among_very_many(queue: Queue, controls: Controls) -> None:
    controls.drain("tenant 77")
    with pytest.raises(TenantClosed, match="tenant 77"):
        queue.enqueue([envelope(f"tenant {number}") for number in range(600)])
    assert queue.counts() == {}


def test_a_job_that_is_there_already_is_no_new_one(queue: Queue, controls: Controls) -> None:
    twice = envelopes(2, "acme")

    queue.enqueue(twice)
    queue.enqueue(twice)
    queue.enqueue(twice[:1])

    assert queue.counts() == {"ready": 2}

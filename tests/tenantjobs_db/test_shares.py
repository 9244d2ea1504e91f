"""Which part of the jobs that started lately were a tenant's, and which part it is entitled to."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tenantjobs_db.settlement import Discard, Fail, Finish
from tenantjobs_db.tables import jobs
from tests.tenantjobs_db.making import LONG_AGO, Claimer, envelopes, failure


def test_shares_are_of_what_started_lately_and_entitlements_of_who_has_work(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    controls = Controls(database)
    queue.enqueue([*envelopes(1, "old"), *envelopes(4, "acme"), *envelopes(2, "globex"), *envelopes(1, "paused")])
    controls.set_weight("acme", 3)
    controls.pause("tenant", "paused")
    claims = claimer.claim(5)  # one of old, three of acme in its turn, one of globex
    by_tenant = {claim.tenant: claim for claim in claims}
    claimer.settle(Finish(by_tenant["old"]), Fail(by_tenant["acme"], failure()), Discard(by_tenant["globex"], "no"))
    with database.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.tenant == "old").values(finished_at=LONG_AGO, claimed_at=LONG_AGO))

    found = {share.name: share for share in controls.shares() or ()}

    assert {name: share.started for name, share in found.items()} == {"acme": 3, "globex": 1, "paused": 0}
    assert {name: share.share for name, share in found.items()} == {"acme": 0.75, "globex": 0.25, "paused": 0}
    assert {name: share.entitled for name, share in found.items()} == {"acme": 0.75, "globex": 0.25, "paused": 0}


@pytest.mark.parametrize("kept", [0, 1e-6])
def test_shares_reach_back_as_far_as_finished_jobs_do(queue: Queue, database: Database, kept: float) -> None:
    queue.enqueue(envelopes(1, "acme"))
    claimer = Claimer(database)
    claimer.finish(claimer.claim())

    assert Controls(database, kept=kept).shares() == (None if kept == 0 else [])

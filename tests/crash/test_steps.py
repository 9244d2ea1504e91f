"""A worker is killed in the middle of a step: another one goes on, and no effect is missing or doubled."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest
from sqlalchemy import text

from tests.crash.test_batches import Broker, broker
from tests.crash.test_kills import Site, finish, site
from tests.crash.worker import exit_code

__all__ = ["broker", "site"]

pytestmark = [pytest.mark.slow, pytest.mark.spread, pytest.mark.timeout(240)]


@pytest.mark.parity("1a.29", "1a.30")
@pytest.mark.parametrize(
    ("passage", "committed", "bookmark"),
    [
        (1, 0, None),  # in the first half of the first step: nothing is kept
        (2, 1, {"step": "first", "cursor": 1}),
        (3, 1, {"step": "first", "cursor": 1}),
        (5, 2, {"done": ["first"]}),
        (6, 3, {"done": ["first"], "step": "second", "cursor": 1}),
    ],
)
def test_a_job_goes_on_from_its_last_checkpoint(
    site: Site, passage: int, committed: int, bookmark: dict[str, object] | None
) -> None:
    site.prepare(jobs=1, job="stepwise_effect")
    killed = site.worker("--threads", "1", TENANTJOBS_CRASH_PASSAGE=str(passage))

    assert exit_code(killed) == -signal.SIGKILL

    with site.engine.connect() as connection:
        data = json.loads(connection.execute(text("SELECT data FROM tj_jobs")).scalar_one())
    assert (site.effects(), data.get("bookmark")) == (Counter({(0, "acme"): committed} if committed else {}), bookmark)

    finish(site)

    assert site.effects() == {(0, "acme"): 4}
    assert site.states() == {"finished": 1}


@pytest.mark.services
@pytest.mark.parity("1a.29", "1a.30")
@pytest.mark.parametrize(("passage", "committed"), [(1, 0), (2, 1), (5, 2), (6, 3), (8, 4)])
def test_a_job_of_a_broker_goes_on_from_its_last_checkpoint(broker: Broker, passage: int, committed: int) -> None:
    broker.prepare(jobs=1, job="stepwise_effect")
    killed = broker.worker("--threads", "1", "-q", "default", TENANTJOBS_CRASH_PASSAGE=str(passage))

    assert exit_code(killed) == -signal.SIGKILL

    assert broker.effects() == Counter({(0, "acme"): committed} if committed else {})

    survivor = broker.worker("--threads", "1", "-q", "default")
    try:
        until = time.monotonic() + 60
        while broker.effects() != {(0, "acme"): 4} or broker.waiting() or bookmarks(broker):
            assert time.monotonic() < until, (broker.effects(), broker.waiting(), bookmarks(broker))
            time.sleep(0.1)
    finally:
        survivor.terminate()
    assert exit_code(survivor) == 0


def bookmarks(broker: Broker) -> int:
    with broker.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM tj_bookmarks")).scalar_one())

"""Jobs with a rate in the queue: no window has more starts than it may, and what is too soon waits for its moment."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenantjobs import job, limits_concurrency, limits_rate
from tenantjobs.rates import KEY, Start
from tenantjobs_db import schema, tables
from tenantjobs_db.database import Database, own
from tenantjobs_db.dialects.sqlite import SQLite
from tenantjobs_db.explaining import Explaining
from tenantjobs_db.queue import Queue
from tenantjobs_db.rates import DatabaseRates
from tenantjobs_db.releasing import Releasing
from tests.tenantjobs_db.making import LONG_AGO, Claimer, envelope, let_come_due


@pytest.fixture(autouse=True)
def jobs_of_this_test(registry: object) -> None:
    """``call`` may start twice an hour, ``short`` twice in half a second, ``noop`` at any time."""
    for name, policies in {
        "call": [limits_rate(to=2, per=3600)],
        "short": [limits_rate(to=2, per=0.5)],
        "both": [limits_rate(to=1, per=3600), limits_concurrency(to=2)],
        "noop": [],
    }.items():
        _made(name, *policies)


def _made(name: str, *policies: Any) -> None:
    @job(name=name, policies=policies)
    def perform(number: int = 0) -> None: ...


def paced(name: str = "call", key: str = "k", **fields: Any) -> Any:
    return envelope(name=name, keys={KEY: key, "limit": "l"}, **fields)


def let_starts_age(database: Database) -> None:
    """All starts so far were long ago."""
    with database.begin() as connection:
        connection.execute(tables.starts.update().values(started_at=LONG_AGO))


@pytest.mark.parity("1c.17", "1b.42")
def test_no_more_are_claimed_than_may_start_and_the_others_are_out_of_the_way(queue: Queue, claimer: Claimer) -> None:
    first, second, *_ = jobs = [paced() for _ in range(150)]
    other = envelope()
    queue.enqueue(jobs)
    queue.enqueue([other])

    claims = claimer.claim(5)

    assert [claim.id for claim in claims] == [first.id, second.id, other.id]
    assert queue.counts() == {"claimed": 3, "blocked": 148}
    assert queue.ready_queues() == []


def test_the_end_of_a_job_makes_no_room_for_another(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([paced() for _ in range(3)])
    claimer.finish(claimer.claim(5))

    assert claimer.claim(5) == []


def test_keys_do_not_stand_in_each_others_way(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([paced(key=key) for key in "ab" for _ in range(3)])

    assert len(claimer.claim(10)) == 4


def test_those_that_wait_come_when_their_moment_has_come_in_their_order(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    jobs = [paced() for _ in range(5)]
    queue.enqueue(jobs)
    claimer.claim(5)
    net = Releasing(database)
    assert net.release() == 0, "none may start within the next hour"

    let_starts_age(database)

    assert net.release() == 2
    let_come_due(database)
    queue.promote()
    assert [claim.id for claim in claimer.claim(5)] == [jobs[2].id, jobs[3].id]
    assert queue.counts() == {"claimed": 4, "blocked": 1}


def test_they_are_given_their_moments_before_these_come(database: Database, queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([paced("short") for _ in range(6)])
    assert len(claimer.claim(6)) == 2
    net = Releasing(database)

    assert net.release() == 4
    assert queue.counts()["scheduled"] == 4
    assert net.release() == 0


def test_a_line_whose_rate_is_forgotten_is_not_stuck(database: Database, queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([paced() for _ in range(4)])
    claimer.claim(4)
    with database.begin() as connection:
        connection.execute(tables.rates.update().values(expires_at=LONG_AGO))
    assert DatabaseRates(database).prune() == 1

    assert Releasing(database).release() == 2


def test_a_job_that_may_not_start_gives_the_permit_of_its_limit_back(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    queue.enqueue([paced("both") for _ in range(2)])

    assert len(claimer.claim(2)) == 1
    with database.begin() as connection:
        assert len(connection.execute(tables.permits.select()).all()) == 1


def test_no_job_without_a_rate_costs_a_look(database: Database, queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([envelope() for _ in range(4)])
    claimer.claim(4)

    with database.begin() as connection:
        assert connection.execute(tables.rates.select()).all() == []


def test_what_it_waits_for_is_explained(database: Database, queue: Queue, claimer: Claimer) -> None:
    jobs = [paced() for _ in range(4)]
    queue.enqueue(jobs)
    claimer.claim(4)

    found = Explaining(database).explain(jobs[-1].id)

    assert found is not None
    assert [(each.kind, each.text) for each in found.reasons] == [("rate", "the rate k of 2 in 3600 s: 1 before it")]


def test_claimers_at_once_never_start_more_than_the_rate(database: Database) -> None:
    rates = DatabaseRates(database)
    started: list[str] = []
    counting = threading.Lock()

    def work(number: int) -> None:
        for attempt in range(10):
            owner = f"{number}-{attempt}"
            if rates.start(Start("k", "acme", owner, 7, 3600, 7)) == 0:
                with counting:
                    started.append(owner)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(started) == 7


def test_real_time_frees_a_start_again(database: Database) -> None:
    rates = DatabaseRates(database)
    wanted = [Start("k", "acme", str(number), 1, 0.2, 1) for number in range(3)]
    assert rates.start(wanted[0]) == 0
    wait = rates.start(wanted[1])

    time.sleep(wait + 0.01)

    assert 0 < wait <= 0.2
    assert rates.start(wanted[2]) == 0


@pytest.mark.parity("1b.42")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    to=st.integers(1, 6),
    burst=st.integers(1, 6),
    steps=st.lists(st.tuples(st.sampled_from([0, 1, 3, 7, 20, 61]), st.integers(1, 5)), max_size=25),
)
def test_no_window_has_more_starts_than_it_may_and_none_is_refused_that_could(
    to: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    burst = min(burst, to)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    database = own("sqlite://")
    assert isinstance(database.dialect, SQLite)
    database.dialect.clock = lambda: now
    schema.upgrade(database.engine)
    rates = DatabaseRates(database)
    started: list[datetime] = []
    for number, (seconds, count) in enumerate(steps):
        now += timedelta(seconds=seconds)
        wanted = [Start("k", "", f"{number}-{each}", to, 60.0, burst) for each in range(count)]
        with database.begin() as connection:
            refused = rates.start_within(connection, wanted)
        for each in wanted:
            full = any(
                sum(now - at < timedelta(seconds=window) for at in started) >= most
                for most, window in ((to, 60.0), (burst, each.burst_seconds))
            )
            assert (each.owner in refused) is full
            if not full:
                started.append(now)
    database.close()

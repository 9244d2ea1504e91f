"""Limited jobs in the queue: decided about when they are claimed, and let out when one has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, event, select

from tenantjobs import Current, job, limits_concurrency, perform_all_later, testing
from tenantjobs.definition import lookup
from tenantjobs.errors import LimitReached
from tenantjobs.limits import KEY
from tenantjobs_db import tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tenantjobs_db.releasing import Releasing
from tenantjobs_db.settlement import Claimed, Fail, Finish, GiveBack
from tests.tenantjobs_db.making import Claimer, envelope, failure, let_expire

performed: list[Any] = []


@pytest.fixture(autouse=True)
def jobs_of_this_test(registry: object) -> None:
    """The jobs ``one`` and ``two`` are limited to so many at once, ``noop`` is not."""
    performed.clear()
    _made("one", limits_concurrency(to=1))
    _made("two", limits_concurrency(to=2))
    _made("given.up", limits_concurrency(to=1, on_conflict="discard"))
    _made("noop")


def _made(name: str, *policies: Any) -> Any:
    @job(name=name, policies=policies)
    def perform(number: int = 0) -> None:
        performed.append(number)

    return perform


def limited(name: str = "one", key: str = "k", **fields: Any) -> Any:
    return envelope(name=name, keys={KEY: key}, **fields)


def states(database: Database) -> dict[str, str]:
    with database.begin() as connection:
        return {row.id: row.state for row in connection.execute(select(tables.jobs.c.id, tables.jobs.c.state))}


def held(database: Database) -> int:
    with database.begin() as connection:
        return len(connection.execute(select(tables.permits.c.owner)).all())


def ids(claims: list[Claimed]) -> list[str]:
    return [claim.id for claim in claims]


@pytest.mark.parity("1c.17")
def test_no_more_are_claimed_than_may_run_and_the_others_are_out_of_the_way(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    first, second, third = jobs = [limited("two") for _ in range(3)]
    queue.enqueue(jobs)

    claims = claimer.claim(5)

    assert ids(claims) == [first.id, second.id]
    assert states(database)[third.id] == "blocked"
    assert queue.ready_queues() == []


@pytest.mark.parity("1c.17", "1b.13")
@pytest.mark.parametrize("verdict", [Finish, GiveBack, lambda claim: Fail(claim, failure())])
def test_whoever_ends_lets_the_next_one_out_in_the_same_transaction(
    database: Database, queue: Queue, claimer: Claimer, verdict: Callable[[Claimed], Any]
) -> None:
    first, second, third = jobs = [limited() for _ in range(3)]
    queue.enqueue(jobs)
    (claim,) = claimer.claim(5)

    claimer.settle(verdict(claim))

    assert states(database)[second.id] == "ready"
    assert states(database)[third.id] == "blocked"
    assert held(database) == 0
    assert claim.id == first.id


def test_the_next_one_is_claimed_by_the_exchange_that_settles_the_one_before(queue: Queue, claimer: Claimer) -> None:
    jobs = [limited() for _ in range(4)]
    queue.enqueue(jobs)
    order = []
    claims = claimer.claim(2)
    while claims:
        order += ids(claims)
        claims = claimer.consumer.exchange(claimer.process, [Finish(claim) for claim in claims], 2).claimed

    assert order == [each.id for each in jobs]


@pytest.mark.parity("1b.19")
def test_those_that_waited_are_let_out_by_their_priority(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([limited()])
    (running,) = claimer.claim(5)
    urgent, later = limited(priority=-1), limited()
    queue.enqueue([later])
    queue.enqueue([urgent])
    assert claimer.claim(5) == []

    claimer.finish([running])

    assert ids(claimer.claim(5)) == [urgent.id]


def test_keys_do_not_stand_in_each_others_way_and_the_claim_is_filled_with_others(
    queue: Queue, claimer: Claimer
) -> None:
    same = [limited() for _ in range(30)]
    other, unlimited = limited(key="another"), envelope()
    queue.enqueue([*same, other, unlimited])

    assert set(ids(claimer.claim(3))) == {same[0].id, other.id, unlimited.id}


@pytest.mark.parity("1b.16")
def test_a_line_of_jobs_that_would_be_claimed_in_vain_is_put_aside_at_once(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    queue.enqueue([limited() for _ in range(150)])
    claimer.claim(1)
    claimer.claim(1)

    assert list(states(database).values()).count("blocked") == 149


def test_no_job_without_a_limit_costs_a_statement_more(database: Database, queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([envelope() for _ in range(4)])
    claimer.claim(1)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    claims = claimer.claim(2)
    claimer.finish(claims)

    assert len(claims) == 2
    assert not [text for text in statements if "tj_permits" in text or "tj_blocked" in text]


def test_one_that_is_to_be_discarded_comes_without_a_permit(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([limited("given.up"), limited("given.up")])

    one, two = claimer.claim(5)

    assert one.grant is not None
    assert two.grant is None


def test_one_that_has_started_before_is_blocked_and_not_discarded(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    first = limited("given.up")
    queue.enqueue([first])
    claimer.settle(GiveBack(claimer.claim_one()))
    queue.enqueue([limited("one", priority=-1)])
    claimer.claim(1)

    assert claimer.claim(1) == []
    assert states(database)[first.id] == "blocked"


def test_a_job_that_is_not_limited_any_more_starts(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([limited("noop"), limited("noop")])

    assert len(claimer.claim(5)) == 2


def test_a_message_that_is_no_envelope_is_left_to_the_door(database: Database, queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([limited()])
    with database.begin() as connection:
        connection.execute(tables.jobs.update().values(data="nonsense"))

    assert claimer.claim_one().grant is None


@pytest.mark.parity("1b.18")
def test_the_claims_of_a_dead_process_give_their_permits_back(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    first, second = limited(), limited()
    queue.enqueue([first, second])
    claimer.claim(5)
    let_expire(database, claimer.process)

    Claimer(database).processes.reap()

    assert held(database) == 0
    assert states(database) == {first.id: "ready", second.id: "ready"}


@pytest.mark.parity("1b.18")
def test_a_late_worker_gives_nothing_back_that_another_one_has(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    queue.enqueue([limited()])
    (late,) = claimer.claim(5)
    let_expire(database, claimer.process)
    another = Claimer(database)
    another.processes.reap()
    another.claim_one()

    assert claimer.finish([late]) != []
    assert held(database) == 1


def test_a_blocked_job_may_be_cancelled_and_is_passed_over(database: Database, queue: Queue, claimer: Claimer) -> None:
    first, second, third = jobs = [limited() for _ in range(3)]
    queue.enqueue(jobs)
    claims = claimer.claim(5)

    assert queue.cancel(second.id)
    claimer.finish(claims)

    assert states(database) == {first.id: "finished", second.id: "discarded", third.id: "ready"}


@pytest.mark.parity("1b.20")
def test_what_nobody_let_out_is_let_out_by_the_safety_net(database: Database, queue: Queue, claimer: Claimer) -> None:
    first, second, third = jobs = [limited("two") for _ in range(3)]
    queue.enqueue(jobs)
    claimer.claim(5)
    net = Releasing(database)
    assert net.release() == 0

    with database.begin() as connection:  # a permit has gone without anybody having settled a job
        connection.execute(delete(tables.permits).where(tables.permits.c.owner == first.id))

    assert net.release() == 1
    assert states(database)[third.id] == "ready"
    assert second.id in states(database)


def test_the_permit_of_a_claim_that_is_no_more_is_found_by_the_safety_net(
    database: Database, queue: Queue, claimer: Claimer
) -> None:
    first, second = limited(), limited()
    queue.enqueue([first, second])
    claimer.claim(5)
    assert claimer.consumer.give_back_unknown(claimer.process, ()) == 1, "as after an answer that was lost"
    assert held(database) == 1

    assert Releasing(database).release() == 1
    assert held(database) == 0


def test_the_safety_net_goes_round_all_keys(
    database: Database, queue: Queue, claimer: Claimer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantjobs_db.releasing.KEYS", 2)
    queue.enqueue([limited(key=key) for key in "abcde" for _ in range(2)])
    claimer.claim(20)
    with database.begin() as connection:
        connection.execute(delete(tables.permits))
    net = Releasing(database)

    assert [net.release() for _ in range(4)] == [2, 2, 1, 0]


def test_claimers_at_once_never_have_more_than_may_run(database: Database, queue: Queue) -> None:
    queue.enqueue([limited("two", key=key) for key in "ab" for _ in range(20)])
    running: dict[str, int] = {"a": 0, "b": 0}
    most: dict[str, int] = {"a": 0, "b": 0}
    ended: list[str] = []
    counting = threading.Lock()
    until = time.monotonic() + 20

    def work() -> None:
        claimer = Claimer(database)
        claims: list[Claimed] = []
        while len(ended) < 40 and time.monotonic() < until:
            claims = claimer.consumer.exchange(claimer.process, [Finish(claim) for claim in claims], 3).claimed
            with counting:
                for claim in claims:
                    assert claim.grant is not None
                    key = claim.grant.request.key
                    running[key] += 1
                    most[key] = max(most[key], running[key])
            time.sleep(0.002)
            with counting:
                for claim in claims:
                    assert claim.grant is not None
                    running[claim.grant.request.key] -= 1
                    ended.append(claim.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(ended)) == len(ended) == 40
    assert max(most.values()) <= 2


def test_a_drain_performs_all_of_them_and_gives_every_permit_back(adapter: DatabaseAdapter) -> None:
    with Current.set(tenant_id="acme"):
        one, other = _registered("one"), _registered("given.up")
        handles = perform_all_later([one.call(1), one.call(2), other.call(3), other.call(4), one.call(5)])
        handles.append(other.perform_later(6))

    assert testing.drain() == 4
    assert performed == [1, 2, 3, 5]
    assert [handle.enqueued for handle in handles] == [True, True, True, False, True, False]
    assert isinstance(handles[3].enqueue_error, LimitReached)
    assert held(adapter.database) == 0


def test_a_job_that_is_given_up_when_it_would_start_is_discarded_with_the_reason(adapter: DatabaseAdapter) -> None:
    with Current.set(tenant_id="acme"):
        job = _registered("given.up")
        handle = job.set(wait=0.001).perform_later(1)
        time.sleep(0.002)
        job.perform_later(2)  # has the place
    with adapter.database.begin() as connection:
        connection.execute(tables.permits.update().values(owner="another", token="another"))

    testing.drain()
    found = adapter.queue.find(handle.job_id)

    assert found is not None
    assert (found.state, performed) == ("discarded", [])
    assert "as many as may" in (found.reason or "")


def _registered(name: str) -> Any:
    found = lookup(name)
    assert found is not None
    return found.source

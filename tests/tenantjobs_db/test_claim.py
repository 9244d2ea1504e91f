from __future__ import annotations

import threading
from collections import Counter

import pytest
from sqlalchemy import create_engine, text

from tenantjobs_db import schema
from tenantjobs_db.database import Database, beside, own
from tenantjobs_db.queue import Queue
from tests.tenantjobs_db.making import Claimer, envelope, envelopes


def test_a_claimed_job_names_its_process_and_a_new_fence(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimed = claimer.claim_one()

    row = queue.find(job.id)
    assert row is not None
    assert (claimed.id, claimed.fence, claimed.process, claimed.attempt) == (job.id, 1, claimer.process, 0)
    assert (row.state, row.claimed_by, row.fence) == ("claimed", claimer.process, 1)
    assert row.claimed_at is not None


@pytest.mark.parity("1b.04")
def test_no_more_is_claimed_than_wanted_and_no_less_than_there_is(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([envelope(f"t{number % 3}") for number in range(10)])

    assert [len(claimer.claim(4)), len(claimer.claim(4)), len(claimer.claim(4)), len(claimer.claim(4))] == [4, 4, 2, 0]


@pytest.mark.parity("1b.04")
def test_within_a_tenant_lower_numbers_come_first_and_then_the_oldest(queue: Queue, claimer: Claimer) -> None:
    first, second = envelopes(2, priority=5)
    urgent = envelope(priority=-1)
    late = envelope(priority=9)
    queue.enqueue([late, second, first, urgent])

    assert [claimer.claim_one().id for _ in range(4)] == [urgent.id, first.id, second.id, late.id]


def test_priority_orders_within_a_tenant_and_never_between_tenants(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(20, "greedy", priority=-100))
    queue.enqueue(envelopes(2, "modest", priority=100))

    assert [claimer.claim_one().tenant for _ in range(4)] == ["greedy", "modest", "greedy", "modest"]


@pytest.mark.parity("1b.43")
def test_a_claim_of_many_goes_round_the_tenants_that_have_work(queue: Queue, claimer: Claimer) -> None:
    for tenant, count in [("a", 20), ("b", 20), ("c", 1), ("", 20)]:
        queue.enqueue(envelopes(count, tenant or None))

    claimed = Counter(job.tenant for job in claimer.claim(10))

    assert claimed == {"a": 3, "b": 3, "c": 1, "": 3}


def test_what_does_not_divide_evenly_goes_to_another_tenant_the_next_time(queue: Queue, claimer: Claimer) -> None:
    for tenant in ("a", "b"):
        queue.enqueue(envelopes(30, tenant))

    shares = Counter[str]()
    for _ in range(10):
        shares.update(job.tenant for job in claimer.claim(3))

    assert shares == {"a": 15, "b": 15}


@pytest.mark.parity("1b.43")
@pytest.mark.parametrize("wanted", [1, 3, 10])
def test_a_flood_takes_no_more_than_its_turn(queue: Queue, claimer: Claimer, wanted: int) -> None:
    queue.enqueue(envelopes(5000, "flood"))
    small = [f"small-{number:02}" for number in range(20)]
    queue.enqueue([envelope(tenant) for tenant in small for _ in range(5)])

    claimed: list[str] = []
    while len(claimed) < 105:
        claimed += [job.tenant for job in claimer.claim(min(wanted, 105 - len(claimed)))]

    assert Counter(claimed) == {"flood": 5} | dict.fromkeys(small, 5)


def test_a_tenant_that_comes_late_is_served_within_one_round(queue: Queue, claimer: Claimer) -> None:
    for tenant in ("a", "c", "e"):
        queue.enqueue(envelopes(50, tenant))
    claimer.claim(20)
    queue.enqueue([envelope("b")])

    assert "b" in [claimer.claim_one().tenant for _ in range(4)]


def test_queues_come_in_the_order_of_the_list(queue: Queue, database: Database) -> None:
    queue.enqueue([envelope(queue=name) for name in ("low", "mail-out", "critical", "mail-in", "other")])
    claimer = Claimer(database, "critical", "mail*", "low")

    claimed = [claimer.claim_one().queue for _ in range(4)]

    assert claimed == ["critical", "mail-in", "mail-out", "low"]
    assert claimer.claim(5) == []


def test_a_queue_in_front_is_emptied_before_the_next_is_looked_at(queue: Queue, database: Database) -> None:
    queue.enqueue([*envelopes(5, queue="second"), *envelopes(5, queue="first")])
    claimer = Claimer(database, "first", "second")

    assert [job.queue for job in claimer.claim(7)] == ["first"] * 5 + ["second"] * 2


@pytest.mark.parity("1b.08")
def test_the_queues_of_a_star_take_turns(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([*envelopes(50, queue="a"), *envelopes(50, queue="b"), *envelopes(50, queue="c")])

    assert [claimer.claim_one().queue for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_process_that_is_not_known_claims_nothing(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([envelope()])
    claimer.processes.leave(claimer.process)

    assert claimer.claim(5) == []
    assert queue.counts() == {"ready": 1}


def test_nothing_ready_costs_no_transaction(
    claimer: Claimer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "begin", lambda: pytest.fail("a transaction was begun"))

    assert claimer.claim(5) == []


@pytest.mark.parity("1b.05")
def test_concurrent_claimers_never_get_the_same_job(queue: Queue, database: Database) -> None:
    queue.enqueue([envelope(f"t{number % 7}") for number in range(2000)])
    claimed: list[list[str]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def work(mine: list[str]) -> None:
        claimer = Claimer(database)
        start.wait()
        while True:
            claims = claimer.claim(20)
            if not claims and not queue.counts().get("ready"):
                break
            mine += [job.id for job in claims]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = [job_id for mine in claimed for job_id in mine]
    assert len(everything) == 2000
    assert len(set(everything)) == 2000
    assert queue.counts() == {"claimed": 2000}


@pytest.mark.postgres
def test_plans_are_made_once_by_indexes_and_not_compiled_however_dear_they_look(postgres_url: str) -> None:
    ours = {"jit": "off", "enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
    theirs = create_engine(postgres_url)
    for database in (own(postgres_url), beside(theirs)):
        with database.begin() as connection, database.autocommit() as alone:
            for name, value in ours.items():
                assert connection.execute(text(f"SHOW {name}")).scalar_one() == value
                assert alone.execute(text(f"SHOW {name}")).scalar_one() == value
        database.close()
    with theirs.connect() as connection:
        said = f"SELECT bool_and(setting = boot_val) FROM pg_settings WHERE name IN {tuple(ours)}"
        assert connection.execute(text(said)).scalar_one(), "the application's connections are left as they were"
    theirs.dispose()


@pytest.mark.postgres
def test_a_worker_that_was_idle_reads_no_more_when_many_jobs_come_at_once(postgres_url: str) -> None:
    """Its plans are those of a table with a few rows, until somebody analyzes that."""
    database = own(postgres_url)
    schema.upgrade(database.engine)
    with database.begin() as connection:
        connection.execute(text("TRUNCATE tj_jobs"))  # with what is dead in its indexes
        connection.execute(text("ALTER TABLE tj_jobs SET (autovacuum_enabled = off)"))
    queue, claimer = Queue(database), Claimer(database)
    for _ in range(15):  # as many as it takes to have plans kept
        queue.enqueue([envelope()])
        claimer.finish([claimer.claim_one()])

    def fetched() -> int:
        with database.autocommit() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            return connection.execute(text(READ)).scalar_one()

    queue.enqueue(envelopes(2000))
    before = fetched()
    for _ in range(5):
        assert queue.ready_queues() == ["default"]
        claimer.finish([claimer.claim_one()])

    assert fetched() - before < 500
    database.close()


READ = """
    SELECT t.seq_tup_read + sum(i.idx_tup_read) FROM pg_stat_user_tables t
    JOIN pg_stat_user_indexes i USING (relid) WHERE relid = 'tj_jobs'::regclass GROUP BY t.seq_tup_read
"""

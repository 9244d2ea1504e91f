from __future__ import annotations

import threading

from tenantjobs_db.database import Database
from tenantjobs_db.lease import Lease
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tests.tenantjobs_db.making import Claimer, envelope, envelopes, let_expire


def test_a_living_process_keeps_its_jobs(queue: Queue, claimer: Claimer, living: Processes) -> None:
    queue.enqueue(envelopes(2))
    claimer.claim(2)

    reaped = living.reap()

    assert (reaped.given_back, reaped.failed) == ((), ())
    assert queue.counts() == {"claimed": 2}


def test_the_jobs_of_a_dead_process_go_back_and_are_not_charged(
    queue: Queue, claimer: Claimer, living: Processes, database: Database
) -> None:
    job = envelope()
    queue.enqueue([job])
    claimer.claim(1)
    let_expire(database, claimer.process)

    reaped = living.reap()

    row = queue.find(job.id)
    assert row is not None
    assert reaped.given_back == (job.id,)
    assert (row.state, row.attempt, row.deaths, row.claimed_by) == ("ready", 0, 1, None)


def test_a_job_that_has_outlived_too_many_processes_has_failed(queue: Queue, database: Database) -> None:
    job = envelope("acme")
    queue.enqueue([job])
    for _ in range(4):
        claimer = Claimer(database)
        claimer.claim_one()
        let_expire(database, claimer.process)
        reaped = claimer.processes.reap()

    row = queue.find(job.id)
    assert row is not None
    assert reaped.failed == (job.id,)
    assert (row.state, row.deaths, row.attempt, row.claimed_by) == ("failed", 4, 0, None)
    assert "4 worker processes died" in row.failures[0].message


def test_a_process_that_says_goodbye_leaves_nothing_behind(queue: Queue, claimer: Claimer, living: Processes) -> None:
    queue.enqueue([envelope()])
    claimer.claim_one()
    claimer.processes.leave(claimer.process)

    assert len(living.reap().given_back) == 1


def test_a_claim_under_a_name_that_is_gone_is_found_by_the_next_sweep(
    queue: Queue, claimer: Claimer, living: Processes, database: Database
) -> None:
    """The claim of a process that was stopped between asking and claiming, and reaped meanwhile."""
    job = envelope()
    queue.enqueue([job])
    claimer.claim_one()
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tj_processes")

    assert living.reap().given_back == (job.id,)


def test_a_heartbeat_keeps_a_process_alive_and_tells_when_it_is_gone(
    claimer: Claimer, living: Processes, database: Database
) -> None:
    let_expire(database, claimer.process)

    assert living.beat(claimer.process)
    assert living.reap().given_back == ()
    let_expire(database, claimer.process)
    living.reap()
    assert not living.beat(claimer.process)


def test_a_reaper_does_not_reap_itself(claimer: Claimer, database: Database) -> None:
    let_expire(database, claimer.process)

    claimer.processes.reap(own=claimer.process)

    assert claimer.processes.beat(claimer.process)


def test_concurrent_reapers_count_one_death(queue: Queue, claimer: Claimer, database: Database) -> None:
    jobs = envelopes(50)
    queue.enqueue(jobs)
    claimer.claim(50)
    let_expire(database, claimer.process)
    reaped: list[str] = []
    start = threading.Barrier(4)

    def reap() -> None:
        processes = Processes(database, lease=60.0, max_deaths=3)
        start.wait()
        reaped.extend(processes.reap().given_back)

    threads = [threading.Thread(target=reap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(reaped) == sorted(job.id for job in jobs)
    assert {queue.find(job.id).deaths for job in jobs} == {1}  # type: ignore[union-attr]  # they are there


def test_a_lost_lease_is_replaced_and_what_was_claimed_under_it_is_lost(
    queue: Queue, living: Processes, database: Database
) -> None:
    lease = Lease(living, 60.0)
    lease.begin()
    before = lease.process
    let_expire(database, before)
    living.reap()

    lease.renew()

    assert lease.process != before
    assert lease.holds(lease.process)
    assert not lease.holds(before)


def test_a_lease_is_renewed_before_a_claim_only_if_it_may_have_run_out(living: Processes, database: Database) -> None:
    lease = Lease(living, 60.0)
    lease.begin()
    let_expire(database, lease.process)
    living.reap()
    before = lease.process

    lease.renew_if_stale()
    fresh = lease.process
    lease.renew_if_stale(0.0)

    assert fresh == before
    assert lease.process != before


def test_claims_without_an_answer_are_given_back(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(4))
    known, *_unknown = claimer.claim(4)

    assert claimer.consumer.give_back_unknown(claimer.process, {(known.id, known.fence)}) == 3
    assert queue.counts() == {"ready": 3, "claimed": 1}

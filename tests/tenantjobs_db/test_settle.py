from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tenantjobs.envelope import Envelope
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tenantjobs_db.settlement import Claimed, Discard, Fail, Finish, GiveBack, Quarantine, Retry, Settlement
from tests.tenantjobs_db.making import (
    Claimer,
    envelope,
    envelopes,
    failure,
    let_come_due,
    let_expire,
    let_time_pass_since_the_end,
    soon,
)


@pytest.mark.parity("1b.11")
def test_finished_jobs_are_kept_with_the_time_of_their_end(queue: Queue, claimer: Claimer) -> None:
    jobs = envelopes(3)
    queue.enqueue(jobs)

    refused = claimer.finish(claimer.claim(3))

    row = queue.find(jobs[0].id)
    assert refused == []
    assert row is not None
    assert (row.state, row.attempt, row.claimed_by) == ("finished", 1, None)
    assert row.finished_at is not None
    assert queue.counts() == {"finished": 3}


def test_a_skipped_job_says_why(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Finish(claimer.claim_one(), note="its guard said no"))

    assert queue.find(job.id).reason == "its guard said no"  # type: ignore[union-attr]  # it is there


@pytest.mark.parity("1b.11")
def test_finished_jobs_may_be_forgotten_at_once_with_what_earlier_attempts_left(
    queue: Queue, database: Database
) -> None:
    claimer = Claimer(database, keep_finished=False)
    job = envelope()
    queue.enqueue([job, *envelopes(4)])
    first = claimer.claim_one()
    claimer.settle(Retry(first, _charged(job), -1, failure()))

    refused = claimer.finish(claimer.claim(5))

    assert refused == []
    assert queue.counts() == {}
    queue.enqueue([job])
    assert queue.find(job.id).failures == ()  # type: ignore[union-attr]  # it is there


def test_a_late_finish_leaves_the_history_of_a_job_that_lives_elsewhere(queue: Queue, database: Database) -> None:
    claimer = Claimer(database, keep_finished=False)
    job = envelope()
    queue.enqueue([job])
    claimer.settle(Retry(claimer.claim_one(), _charged(job), -1, failure()))
    late = claimer.claim_one()
    claimer.settle(GiveBack(late))

    assert len(claimer.finish([late])) == 1
    assert len(queue.find(job.id).failures) == 1  # type: ignore[union-attr]  # it is there


def test_settling_and_claiming_are_one_transaction(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(4))
    first = claimer.claim(2)

    exchange = claimer.consumer.exchange(claimer.process, [Finish(job) for job in first], 2)

    assert len(exchange.claimed) == 2
    assert queue.counts() == {"finished": 2, "claimed": 2}


def test_a_retried_job_keeps_its_row_and_its_id(queue: Queue, claimer: Claimer) -> None:
    job = envelope(queue="mail", priority=2)
    queue.enqueue([job])
    again = msgspec.structs.replace(job, attempt=1, counters={"retry:ValueError": 1}, queue="slow", priority=7)

    claimer.settle(Retry(claimer.claim_one(), again, 3600, failure("smtp is down")))

    row = queue.find(job.id)
    assert row is not None
    assert (row.state, row.attempt, row.queue, row.priority) == ("scheduled", 1, "slow", 7)
    assert row.due_at is not None
    assert abs(row.due_at - soon()) < timedelta(seconds=60)
    assert again.encode() == row.data.encode()
    (attempt,) = row.failures
    assert (attempt.attempt, attempt.error_class, attempt.message) == (1, "builtins.ValueError", "smtp is down")
    assert attempt.retried
    assert "Traceback (most recent call last)" in attempt.traceback


def test_a_retry_that_is_due_at_once_is_ready(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Retry(claimer.claim_one(), _charged(job), -1, failure()))

    assert claimer.claim_one().attempt == 1


def test_a_retry_without_an_error_leaves_no_failure_behind(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Retry(claimer.claim_one(), job, 3600, note="another job is at work on its key"))

    row = queue.find(job.id)
    assert row is not None
    assert (row.attempt, row.failures, row.reason) == (0, (), "another job is at work on its key")


@pytest.mark.parity("1b.12")
def test_a_failed_job_stays_with_the_history_of_its_attempts(queue: Queue, claimer: Claimer) -> None:
    job = envelope("acme")
    queue.enqueue([job])
    claimer.settle(Retry(claimer.claim_one(), _charged(job), -1, failure("first")))
    claimer.settle(Fail(claimer.claim_one(), failure("second"), _charged(job, 2)))

    row = queue.find(job.id)
    assert row is not None
    assert (row.state, row.attempt) == ("failed", 2)
    assert [(a.attempt, a.message, a.retried) for a in row.failures] == [(1, "first", True), (2, "second", False)]
    assert claimer.claim(5) == []


def test_a_failure_without_an_envelope_leaves_the_data_and_counts_the_attempt(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Fail(claimer.claim_one(), failure()))

    row = queue.find(job.id)
    assert row is not None
    assert (row.state, row.attempt, row.data.encode()) == ("failed", 1, job.encode())


def test_a_discarded_job_says_why_and_keeps_the_error(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Discard(claimer.claim_one(), "its record is gone", failure("gone")))

    row = queue.find(job.id)
    assert row is not None
    assert (row.state, row.reason, row.failures[0].message) == ("discarded", "its record is gone", "gone")


@pytest.mark.parity("1b.06")
def test_a_quarantined_job_is_visible_and_untouched(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Quarantine(claimer.claim_one(), "UnknownJob: nobody knows it"))

    row = queue.find(job.id)
    assert row is not None
    assert (row.state, row.attempt, row.reason) == ("quarantined", 0, "UnknownJob: nobody knows it")
    assert job.encode() == row.data.encode()


def test_a_job_that_is_given_back_is_charged_nothing_and_comes_first_again(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(3))
    claimed = claimer.claim_one()

    claimer.settle(GiveBack(claimed))

    again = claimer.claim_one()
    assert (again.id, again.attempt, again.fence) == (claimed.id, 0, 2)


SETTLEMENTS = [Finish, GiveBack, Fail, Discard, Quarantine, Retry]


@pytest.mark.parity("1b.13")
@pytest.mark.parametrize("kind", SETTLEMENTS)
def test_a_late_verdict_is_refused_and_changes_nothing(
    queue: Queue, claimer: Claimer, database: Database, kind: type[Settlement]
) -> None:
    job = envelope()
    queue.enqueue([job])
    late = claimer.claim_one()
    let_expire(database, claimer.process)
    other = Claimer(database)
    other.processes.reap()
    other.claim_one()
    before = queue.find(job.id)

    refused = claimer.settle(_verdict(kind, late))

    assert [verdict.claim for verdict in refused] == [late]
    assert queue.find(job.id) == before


@pytest.mark.parity("1b.13")
def test_a_verdict_on_an_earlier_claim_of_the_same_process_is_refused(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([envelope()])
    earlier = claimer.claim_one()
    claimer.settle(GiveBack(earlier))
    now = claimer.claim_one()

    assert len(claimer.finish([earlier])) == 1
    assert claimer.finish([now]) == []


@pytest.mark.parametrize("keep_finished", [True, False])
def test_one_late_verdict_among_many_is_the_only_one_refused(
    queue: Queue, database: Database, keep_finished: bool
) -> None:
    claimer = Claimer(database, keep_finished=keep_finished)
    queue.enqueue(envelopes(5))
    claims = claimer.claim(5)
    claimer.finish(claims[:1])

    refused = claimer.finish(claims)

    assert [verdict.claim for verdict in refused] == claims[:1]
    assert queue.counts() == ({"finished": 5} if keep_finished else {})


@pytest.mark.parity("1b.12")
def test_an_error_that_no_database_takes_is_stored_all_the_same(queue: Queue, claimer: Claimer) -> None:
    job = envelope()
    queue.enqueue([job])

    claimer.settle(Fail(claimer.claim_one(), failure("nul \x00 and half a pair \ud800")))

    assert queue.find(job.id).failures[0].message == "nul \\x00 and half a pair \\ud800"  # type: ignore[union-attr]


def test_scheduled_jobs_become_ready_when_their_time_has_come(
    queue: Queue, claimer: Claimer, database: Database
) -> None:
    queue.enqueue([envelope(due_at=soon()) for _ in range(5)])

    assert queue.promote() == 0
    let_come_due(database)
    assert [queue.promote(batch=3), queue.promote(batch=3), queue.promote(batch=3)] == [3, 2, 0]
    assert len(claimer.claim(10)) == 5


def test_pruning_forgets_what_is_old_and_nothing_that_failed(
    queue: Queue, claimer: Claimer, database: Database
) -> None:
    finished, discarded, failed, quarantined = jobs = envelopes(4)
    queue.enqueue(jobs)
    claims = {claim.id: claim for claim in claimer.claim(4)}
    claimer.settle(
        Finish(claims[finished.id]),
        Discard(claims[discarded.id], "no use", failure()),
        Fail(claims[failed.id], failure()),
        Quarantine(claims[quarantined.id], "unknown"),
    )

    assert queue.prune(age=60.0) == 0
    let_time_pass_since_the_end(database)
    assert queue.prune(age=60.0) == 2
    assert queue.counts() == {"failed": 1, "quarantined": 1}
    assert len(queue.find(failed.id).failures) == 1  # type: ignore[union-attr]  # it is there


def test_pruning_goes_in_batches(queue: Queue, claimer: Claimer, database: Database) -> None:
    queue.enqueue(envelopes(7))
    claimer.finish(claimer.claim(7))
    let_time_pass_since_the_end(database)

    assert [queue.prune(60.0, batch=3), queue.prune(60.0, batch=3), queue.prune(60.0, batch=3)] == [3, 3, 1]


def _charged(job: Envelope, attempt: int = 1) -> Envelope:
    return msgspec.structs.replace(job, attempt=attempt)


def _verdict(kind: type[Settlement], claim: Claimed) -> Settlement:
    given: dict[type[Settlement], dict[str, Any]] = {
        Fail: {"failure": failure()},
        Discard: {"reason": "late"},
        Quarantine: {"reason": "late"},
        Retry: {"envelope": envelope(), "wait": 3600.0, "failure": failure()},
    }
    return kind(claim, **given.get(kind, {}))

"""Jobs in the queue as people find them, and what they do about them by hand."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

import tenantjobs
from tenantjobs import (
    Current,
    Handled,
    StoredJobs,
    current_job,
    job,
    limits_concurrency,
    retry_on,
    stored_jobs,
    testing,
)
from tenantjobs import unique as unique_policy
from tenantjobs.errors import (
    ConfigurationError,
    CrossTenantSwitch,
    DuplicateJob,
    JobGone,
    TenantMissing,
    UnsupportedCapability,
    WrongState,
)
from tenantjobs.instrumentation import Intervened
from tenantjobs.view import JobFilter
from tenantjobs_db import tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tenantjobs_db.releasing import Releasing
from tenantjobs_db.settlement import Fail, Quarantine
from tests.tenantjobs_db.making import (
    LONG_AGO,
    Claimer,
    envelope,
    envelopes,
    failure,
    let_time_pass_since_the_end,
    soon,
)

# What is the same whatever the database is.
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

performed: list[Any] = []


@pytest.fixture(autouse=True)
def jobs_of_this_test(adapter: DatabaseAdapter) -> None:
    """The jobs of these tests, on the configured adapter."""
    performed.clear()

    @job(name="noop", aliases=("old.noop",))
    def noop(number: int = 0) -> None:
        performed.append(current_job())


@pytest.fixture
def failed(queue: Queue, database: Database) -> str:
    """The id of a job of acme that has failed in its third attempt."""
    made = envelope(queue="mail", attempt=2, counters={"k": 2})
    queue.enqueue([made])
    claimer = Claimer(database, "mail")
    claim = claimer.claim_one()
    claimer.settle(Fail(claim, failure(), made.charged(1)))
    return made.id


def ids(jobs: StoredJobs) -> list[str]:
    return [found.id for found in jobs]


def state(queue: Queue, job_id: str) -> str | None:
    found = queue.find(job_id)
    return None if found is None else found.state


# Looking
@pytest.mark.parity("1c.04", "1b.06")
def test_jobs_are_found_by_whatever_is_known_of_them(queue: Queue, claimer: Claimer, failed: str) -> None:
    (finished,), (running,) = envelopes(1, "globex"), envelopes(1)
    queue.enqueue([finished])
    claimer.finish(claimer.claim())
    queue.enqueue([running])
    claim = claimer.claim_one()
    later = envelope(None, name="old.noop", due_at=soon())
    waiting = envelope(enqueued_at=LONG_AGO)
    queue.enqueue([later, waiting])

    assert ids(stored_jobs(state="failed")) == [failed]
    assert ids(stored_jobs(state=("running", "finished"))) == sorted([claim.id, finished.id])
    assert [found.state for found in stored_jobs(state="claimed")] == ["running"], "as its row has it"
    assert ids(stored_jobs(tenant="globex")) == [finished.id]
    assert ids(stored_jobs(without_tenant=True)) == [later.id]
    assert ids(stored_jobs(queue="mail")) == [failed]
    assert stored_jobs(job="noop").count() == 5
    assert stored_jobs(job="noop", state="scheduled").count() == 1, "also those of an older name"
    assert stored_jobs(job="another").count() == 0
    assert ids(stored_jobs(enqueued_before=LONG_AGO + timedelta(1))) == [waiting.id]
    assert stored_jobs(enqueued_after=LONG_AGO + timedelta(1)).count() == 4
    assert ids(stored_jobs(finished_after=LONG_AGO)) == sorted([failed, finished.id])
    assert ids(stored_jobs(finished_before=LONG_AGO)) == []
    for error in (ValueError, "ValueError", "builtins.ValueError"):
        assert ids(stored_jobs(error=error)) == [failed]
    for error in ("Error", "OSError", "valueerror", "x" * 99):
        assert ids(stored_jobs(error=error)) == []
    assert ids(stored_jobs(worker=claimer.process)) == [running.id]
    assert stored_jobs(worker="9" * 30).count() == 0
    assert stored_jobs(queue="mail", tenant="globex").count() == 0, "all of it has to hold"


@pytest.mark.parity("1c.04")
def test_pages_follow_the_ids_from_either_end(queue: Queue) -> None:
    made = [each.id for each in envelopes(7)]
    queue.enqueue([envelope(id=job_id) for job_id in made])
    found = stored_jobs()

    assert [each.id for each in found.page(limit=3)] == made[:3]
    assert [each.id for each in found.page(limit=3, after=made[2])] == made[3:6]
    assert [each.id for each in found.page(limit=3, after=made[4], newest_first=True)] == made[1:4][::-1]


@on_sqlite
@pytest.mark.parametrize("page", [{"after": "nonsense"}, {"limit": 0}, {"limit": 10_001}])
def test_what_is_no_page_is_refused(queue: Queue, page: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"no id of a job: give that of the last|from 1 to 10000"):
        stored_jobs().page(**page)
    with pytest.raises(ConfigurationError, match="seconds above 0"):
        stored_jobs().stats(window=float("nan"))


@on_sqlite
def test_iterating_goes_over_all_pages(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantjobs.stored.PAGE", 2)
    made = envelopes(5)
    queue.enqueue(made)

    assert [each.id for each in stored_jobs()] == [each.id for each in made]
    assert [each.id for each in reversed(stored_jobs())] == [each.id for each in reversed(made)]


@pytest.mark.parity("1c.04")
def test_what_is_found_is_typed_and_has_what_is_known(failed: str, claimer: Claimer, queue: Queue) -> None:
    (found,) = stored_jobs(state="failed")
    assert (found.name, found.tenant_id, found.queue, found.attempts) == ("noop", "acme", "mail", 3)
    assert found.last_error is not None
    assert (found.last_error.error_class, found.last_error.message) == ("builtins.ValueError", "no")

    assert msgspec.structs.replace(stored_jobs().find(failed), history=()) == found
    with pytest.raises(JobGone, match="no job another in the queue"):
        stored_jobs().find("another")
    with pytest.raises(JobGone):
        stored_jobs(tenant="globex").find(failed)

    queue.enqueue(envelopes(1))
    claimer.claim_one()
    (running,) = stored_jobs(state="running")
    assert str(running.worker).startswith("process ")


@on_sqlite
def test_a_scope_shows_the_jobs_of_its_tenant_alone(queue: Queue, failed: str) -> None:
    queue.enqueue(envelopes(1, "globex"))

    with Current.set(tenant_id="globex"):
        assert [each.tenant_id for each in stored_jobs()] == ["globex"]
        with pytest.raises(JobGone):
            stored_jobs().retry(failed)
        with pytest.raises(CrossTenantSwitch, match=r"tenant acme .* in the scope of tenant globex"):
            stored_jobs(tenant="acme")
        with pytest.raises(CrossTenantSwitch):
            stored_jobs(without_tenant=True)
        assert stored_jobs(tenant="globex").count() == 1
    with Current.system("support"):
        assert stored_jobs().count() == 2
        assert stored_jobs(tenant="acme").count() == 1
    with testing.override(tenancy="required"), pytest.raises(TenantMissing, match=r"Current\.system"):
        stored_jobs()


@on_sqlite
@pytest.mark.parametrize("tenant", [None, "", 0])
def test_no_tenant_is_never_taken_for_all_of_them(tenant: object) -> None:
    with pytest.raises(ValueError, match="tenant"):
        stored_jobs(tenant=tenant)


@on_sqlite
def test_what_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'failed'"):
        stored_jobs(state="faild")
    with pytest.raises(ConfigurationError, match="time zone"):
        stored_jobs(enqueued_after=datetime(2026, 1, 1))  # noqa: DTZ001  # the mistake under test
    with pytest.raises(ConfigurationError, match="leave one of them out"):
        stored_jobs(tenant="acme", without_tenant=True)
    with pytest.raises(ConfigurationError, match="from 1 to 10000"):
        stored_jobs().retry_all(batch_size=0)
    with testing.override(adapter="inline"), pytest.raises(UnsupportedCapability, match="'inline' does not show"):
        stored_jobs()


@pytest.mark.parity("1c.04")
def test_stats_count_by_state_queue_tenant_and_job(queue: Queue, claimer: Claimer, failed: str) -> None:
    queue.enqueue(envelopes(1, enqueued_at=LONG_AGO))
    claimer.finish(claimer.claim())
    queue.enqueue([*envelopes(2, "globex"), envelope(due_at=soon())])

    stats = stored_jobs().stats(window=60)

    assert stats.states == {"failed": 1, "finished": 1, "ready": 2, "scheduled": 1}
    assert [(line.name, line.ready, line.scheduled, line.failed) for line in stats.queues] == [
        ("default", 2, 1, 0),
        ("mail", 0, 0, 1),
    ]
    assert [(line.name, line.ready) for line in stats.tenants] == [("acme", 0), ("globex", 2)]
    assert [line.name for line in stats.jobs] == ["noop"]
    assert (stats.ended, stats.enqueued) == ({"failed": 1, "finished": 1}, 4)
    assert stats.oldest.keys() == stats.states.keys()
    assert all(0 <= age < 60 for age in stats.oldest.values())
    assert stored_jobs(tenant="globex").stats().states == {"ready": 2}


# Retrying
@pytest.mark.parity("1b.14", "1c.03")
def test_a_failed_job_is_tried_again_as_if_it_never_had_been(queue: Queue, failed: str) -> None:
    before = queue.find(failed)
    assert before is not None

    stored_jobs().retry(failed)

    after = queue.find(failed)
    assert after is not None
    assert (after.state, after.attempt, after.deaths, after.finished_at, after.reason) == ("ready", 0, 0, None, None)
    assert (after.id, after.tenant, after.queue, after.enqueued_at) == (failed, "acme", "mail", before.enqueued_at)
    assert after.due_at is not None
    assert before.finished_at is not None
    assert after.due_at >= before.finished_at, "it is not late by the time that it had failed"
    assert after.failures == before.failures, "its history stays"
    was, now = envelope().decode(before.data), envelope().decode(after.data)
    assert (now.attempt, now.counters) == (0, {})
    assert (now.context, now.arguments, now.signature) == (was.context, was.arguments, was.signature)

    assert testing.drain() == 1
    (ran,) = performed
    assert (ran.id, ran.attempt, ran.tenant_id) == (failed, 1, "acme")
    assert state(queue, failed) == "finished"


@pytest.mark.parity("1b.14", "1c.03")
def test_all_that_have_failed_are_tried_again_in_batches_with_fresh_counters(queue: Queue, claimer: Claimer) -> None:
    made = [envelope(attempt=4, counters={"k": 4}) for _ in range(5)]
    waiting = envelope("globex")
    queue.enqueue(made)
    for claim in claimer.claim(5):
        claimer.settle(Fail(claim, failure()))
    queue.enqueue([waiting])
    heard: list[Handled] = []

    handled = stored_jobs(job="noop").retry_all(batch_size=2, tell=heard.append)

    assert handled == Handled(done=5, skipped=0)
    assert [each.done for each in heard] == [2, 4, 5]
    for each in made:
        found = queue.find(each.id)
        assert found is not None
        assert (found.state, found.attempt, envelope().decode(found.data).counters) == ("ready", 0, {})


@on_sqlite
@pytest.mark.parity("1b.14")
def test_a_retry_by_hand_gives_the_job_all_of_its_attempts_again(queue: Queue) -> None:
    @job(name="flaky", policies=[retry_on(OSError, wait=0, attempts=2)])
    def flaky() -> None:
        performed.append(current_job())
        raise OSError

    job_id = flaky.perform_later().job_id
    assert testing.drain() == 2
    assert state(queue, job_id) == "failed"

    stored_jobs().retry(job_id)

    assert testing.drain() == 2
    assert [ran.attempt for ran in performed] == [1, 2, 1, 2]
    found = queue.find(job_id)
    assert found is not None
    assert len(found.failures) == 4


@on_sqlite
def test_steps_that_are_done_stay_done_by_a_retry_by_hand(queue: Queue) -> None:
    broken = [True]

    @job(name="stepping")
    def stepping() -> None:
        for _ in tenantjobs.step("first"):
            performed.append("first")
        for _ in tenantjobs.step("second"):
            if broken:
                raise OSError
            performed.append("second")

    job_id = stepping.perform_later().job_id
    testing.drain()
    broken.clear()
    stored_jobs().retry(job_id)
    testing.drain()

    assert performed == ["first", "second"]


@pytest.mark.parity("1c.03")
def test_what_is_in_another_state_is_refused_with_its_name_and_skipped_among_many(
    queue: Queue, claimer: Claimer, failed: str
) -> None:
    made = envelopes(1)
    queue.enqueue(made)
    claimer.claim_one()

    with pytest.raises(WrongState, match=f"job noop id={made[0].id} is running: only one that is failed or in quarant"):
        stored_jobs().retry(made[0].id)
    with pytest.raises(JobGone):
        stored_jobs().retry("another")
    assert stored_jobs(state=("running", "failed")).retry_all() == Handled(done=1, skipped=1)
    assert stored_jobs(state="running").discard_all() == Handled(done=0, skipped=1)


def test_what_is_in_quarantine_is_let_out_when_it_is_named(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(2))
    for claim in claimer.claim(2):
        claimer.settle(Quarantine(claim, "unknown"))

    assert stored_jobs().retry_all() == Handled()
    assert stored_jobs(state="quarantined").retry_all() == Handled(done=2)
    assert testing.drain() == 2


def test_a_retried_job_is_unique_again_and_refused_while_another_one_has_its_key(queue: Queue) -> None:
    broken = [True]

    @job(name="only", policies=[unique_policy("until_executed")])
    def only(number: int = 0) -> None:
        if broken:
            raise OSError

    first, other = only.perform_later(), only.perform_later(7)
    testing.drain()
    second = only.perform_later()
    assert second.enqueued, "a job that has failed frees its key"

    with pytest.raises(DuplicateJob, match=f"job id={second.job_id} has its unique key"):
        stored_jobs().retry(first.job_id)
    assert stored_jobs().retry_all() == Handled(done=1, skipped=1)
    assert state(queue, other.job_id) == "ready"
    assert not only.perform_later(7).enqueued, "its lock is taken again"

    broken.clear()
    testing.drain()
    stored_jobs().retry(first.job_id)
    assert not only.perform_later().enqueued


def test_a_retried_job_waits_for_the_permits_of_its_limit(queue: Queue, claimer: Claimer) -> None:
    failing = [True]

    @job(name="limited", policies=[limits_concurrency(to=1)])
    def limited() -> None:
        if failing:
            raise OSError

    failed = limited.perform_later().job_id
    testing.drain()
    limited.perform_later()
    running = claimer.claim_one()
    stored_jobs().retry(failed)

    assert claimer.claim(1) == []
    claimer.finish([running])
    assert [claim.id for claim in claimer.claim(1)] == [failed]


# Discarding, cancelling
@pytest.mark.parity("1b.15", "1c.03")
def test_what_waits_or_has_failed_is_discarded_and_what_runs_is_refused(
    queue: Queue, claimer: Claimer, failed: str
) -> None:
    queue.enqueue([envelope()])
    running = claimer.claim_one()
    ready, scheduled, blocked = envelope(), envelope(due_at=soon()), envelope()
    queue.enqueue([ready, scheduled, blocked])
    with queue._database.begin() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == blocked.id).values(state="blocked"))

    with pytest.raises(WrongState, match="is running"):
        stored_jobs().discard(running.id)
    stored_jobs().discard(ready.id, reason="a mistake")
    assert stored_jobs().discard_all() == Handled(done=3)

    found = queue.find(ready.id)
    assert found is not None
    assert (found.state, found.reason) == ("discarded", "discarded by hand: a mistake")
    assert found.finished_at is not None
    assert [state(queue, job_id) for job_id in (scheduled.id, blocked.id, failed)] == ["discarded"] * 3
    assert testing.drain() == 0
    claimer.finish([running])


def test_a_discarded_job_frees_its_key_and_lets_nobody_wait(queue: Queue, database: Database) -> None:
    @job(name="only", policies=[unique_policy("until_executed"), limits_concurrency(to=1, on_conflict="discard")])
    def only() -> None: ...

    first = only.perform_later()
    assert not only.perform_later().enqueued
    stored_jobs().discard(first.job_id)
    second = only.perform_later()
    assert second.enqueued
    stored_jobs().cancel(second.job_id)
    assert only.perform_later().enqueued
    assert Releasing(database).release() == 0


@on_sqlite
@pytest.mark.parity("1c.03", "1b.37")
def test_no_hook_of_the_job_runs_for_what_is_decided_by_hand_and_listeners_hear_of_it(
    queue: Queue, failed: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Intervened] = []
    later = envelope(due_at=soon())
    queue.enqueue([later])

    with caplog.at_level(logging.INFO, "tenantjobs.stored"), tenantjobs.subscribe(heard.append, Intervened):
        stored_jobs().retry(failed)
        stored_jobs().run_now(later.id)
        stored_jobs().discard(failed, reason="no use")
        stored_jobs().cancel_all()

    assert [(event.job.id, event.verb, event.reason) for event in heard] == [
        (failed, "retried", None),
        (later.id, "advanced", None),
        (failed, "discarded", "no use"),
        (later.id, "cancelled", None),
    ]
    assert heard[0].job.tenant_id == "acme"
    assert caplog.messages[0] == f"retried noop id={failed} queue=mail tenant=acme attempt=3"
    assert caplog.messages[2] == f"discarded noop id={failed} queue=mail tenant=acme: no use"


def test_a_cancelled_job_is_none_of_its_batch_and_a_discarded_one_has_failed_it() -> None:
    @job(name="work")
    def work() -> None: ...

    @job(name="told")
    def told() -> None:
        performed.append("failure")

    with tenantjobs.batch(on_failure=told) as batch:
        first, second, third = (work.perform_later() for _ in range(3))
    stored_jobs().cancel(first.job_id)
    assert (batch.total, batch.failed) == (2, 0)

    stored_jobs(job="work").discard(second.job_id)
    assert (batch.failed, batch.finished) == (1, False)

    assert ids(stored_jobs(batch=batch)) == sorted([second.job_id, third.job_id])
    testing.drain()
    assert (performed, batch.finished) == (["failure"], True)


@on_sqlite
@pytest.mark.parity("1b.14", "1c.17")
def test_a_batch_that_has_failed_stays_failed_when_its_job_is_retried_by_hand() -> None:
    broken = [True]

    @job(name="work")
    def work() -> None:
        if broken:
            raise OSError

    @job(name="told")
    def told(outcome: str) -> None:
        performed.append(outcome)

    with tenantjobs.batch(on_success=told.call("success"), on_failure=told.call("failure")) as batch:
        work.perform_later()
    testing.drain()
    broken.clear()
    assert stored_jobs(batch=batch, state="failed").retry_all() == Handled(done=1)
    testing.drain()

    assert performed == ["failure"]
    assert (batch.done, batch.finished) == (1, True)


# Now
@pytest.mark.parity("1c.03")
def test_a_scheduled_job_is_run_now(queue: Queue) -> None:
    later = envelope(due_at=soon())
    queue.enqueue([later])
    assert testing.drain() == 0

    stored_jobs().run_now(later.id)
    with pytest.raises(WrongState, match="is ready: only one that is scheduled can be run now"):
        stored_jobs().run_now(later.id)
    assert testing.drain() == 1

    queue.enqueue([envelope(due_at=soon()) for _ in range(2)])
    assert stored_jobs().run_all_now() == Handled(done=2)
    assert testing.drain() == 2


@on_sqlite
def test_the_store_of_an_adapter_knows_no_scope(adapter: DatabaseAdapter, queue: Queue) -> None:
    queue.enqueue([*envelopes(1), *envelopes(2, "globex")])

    with Current.set(tenant_id="acme"):
        assert StoredJobs(adapter.stored).count() == 3
        assert StoredJobs(adapter.stored, JobFilter(tenant="globex")).count() == 2
        assert StoredJobs(adapter.stored, JobFilter(ids=())).count() == 0


# History, clearing
@on_sqlite
def test_the_history_has_every_attempt_also_those_before_a_retry_by_hand() -> None:
    @job(name="flaky", policies=[retry_on(OSError, wait=0, attempts=2)])
    def flaky() -> None:
        raise OSError(f"at {len(performed)}")

    job_id = flaky.perform_later().job_id
    testing.drain()
    stored_jobs().retry(job_id)
    testing.drain()

    found = stored_jobs().find(job_id)
    assert [(failed.attempt, failed.retried) for failed in found.history] == [
        (1, True),
        (2, False),
        (1, True),
        (2, False),
    ]
    assert found.history[-1] == found.last_error
    assert "OSError" in found.history[0].traceback
    assert [each.history for each in stored_jobs()] == [()], "a list does without"


@pytest.mark.parity("1b.34", "1c.03")
def test_what_is_over_is_cleared_in_batches_and_what_has_failed_when_it_is_named(
    queue: Queue, claimer: Claimer, failed: str
) -> None:
    queue.enqueue(envelopes(5))
    claimer.finish(claimer.claim(4))
    heard: list[Handled] = []

    with pytest.raises(WrongState, match="only one that is finished or discarded or failed or in quarantine"):
        stored_jobs().clear(next(iter(stored_jobs(state="ready"))).id)
    assert stored_jobs(finished_before=LONG_AGO).clear_all() == Handled()
    assert stored_jobs().clear_all(batch_size=3, tell=heard.append) == Handled(done=4)
    assert [each.done for each in heard] == [3, 4]
    assert queue.counts() == {"failed": 1, "ready": 1}

    assert stored_jobs(state="failed").clear_all() == Handled(done=1)
    assert queue.find(failed) is None
    with queue._database.begin() as connection:
        assert connection.execute(select(tables.failures)).all() == []


@pytest.mark.parity("1b.34")
def test_failed_jobs_are_forgotten_by_age_and_number_where_that_is_said(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(6))
    old, *claims = claimer.claim(6)
    claimer.settle(Fail(old, failure()))
    let_time_pass_since_the_end(queue._database)
    claimer.settle(*(Fail(claim, failure()) for claim in claims[:3]), Quarantine(claims[3], "unknown"))

    assert queue.prune_failed(None, None) == 0
    assert queue.prune_failed(3600.0, None) == 1
    assert state(queue, old.id) is None
    assert queue.prune_failed(None, 2, batch=1) == 1
    assert queue.prune_failed(3600.0, 2) == 1
    assert queue.prune_failed(3600.0, 2) == 0
    assert queue.counts() == {"failed": 1, "quarantined": 1, "claimed": 1}
    claimer.finish(claims[4:])

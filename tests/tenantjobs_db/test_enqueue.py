from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from tenantjobs import job, perform_all_later, unique
from tenantjobs.errors import SerializationError, TenantClosed
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.closing import Closing
from tenantjobs_db.database import Database
from tenantjobs_db.queue import Queue
from tests.tenantjobs_db.making import Claimer, envelope, envelopes, hang_up_on_others, soon


@pytest.mark.parity("1b.02")
def test_an_enqueued_job_is_ready_with_all_that_the_envelope_says(queue: Queue) -> None:
    job = envelope("acme", name="charge", queue="money", priority=3)

    queue.enqueue([job])

    row = queue.find(job.id)
    assert row is not None
    assert (row.name, row.queue, row.tenant, row.priority, row.state) == ("charge", "money", "acme", 3, "ready")
    assert (row.attempt, row.deaths, row.fence, row.claimed_by, row.due_at) == (0, 0, 0, None, None)
    assert job.enqueued_at == row.enqueued_at
    assert job.encode() == row.data.encode()


@pytest.mark.parametrize("count", [1, 7])
def test_a_job_without_a_tenant_belongs_to_the_empty_tenant(queue: Queue, count: int) -> None:
    jobs = envelopes(count, tenant=None)

    queue.enqueue(jobs)

    assert [queue.find(job.id).tenant for job in jobs] == [""] * count  # type: ignore[union-attr]  # they are there


def test_text_of_any_language_comes_back_byte_for_byte(queue: Queue, claimer: Claimer) -> None:
    job = envelope("straße/日本", name="grüße", number=1)

    queue.enqueue([job])

    claimed = claimer.claim_one()
    assert ("straße/日本", "grüße", job.encode()) == (claimed.tenant, claimed.name, claimed.data.encode())


@pytest.mark.parity("1b.02")
@pytest.mark.parametrize("count", [1, 5])
def test_an_id_that_is_already_there_has_no_second_effect(queue: Queue, claimer: Claimer, count: int) -> None:
    jobs = envelopes(count)
    queue.enqueue(jobs)
    claimer.finish(claimer.claim(count))

    queue.enqueue(jobs)

    assert queue.counts() == {"finished": count}


def test_the_same_id_twice_in_one_call_is_one_job(queue: Queue) -> None:
    job = envelope()

    queue.enqueue([job, job, envelope()])

    assert queue.counts() == {"ready": 2}


@pytest.mark.parametrize("count", [1, 3])
def test_a_job_that_is_due_already_is_ready_at_once(queue: Queue, count: int) -> None:
    queue.enqueue([envelope(due_at=soon(-1)) for _ in range(count)])

    assert queue.counts() == {"ready": count}


@pytest.mark.parity("1b.02")
@pytest.mark.parametrize("count", [1, 3])
def test_a_job_for_later_is_scheduled_and_not_claimed(queue: Queue, claimer: Claimer, count: int) -> None:
    jobs = [envelope(due_at=soon(60)) for _ in range(count)]

    queue.enqueue(jobs)

    assert claimer.claim(5) == []
    assert queue.counts() == {"scheduled": count}
    assert queue.find(jobs[0].id).due_at == jobs[0].due_at  # type: ignore[union-attr]  # it is there


@pytest.mark.parity("1b.03")
def test_many_jobs_are_stored_together_or_not_at_all(queue: Queue) -> None:
    wrong = envelope(priority=None)

    with pytest.raises(IntegrityError) as refused:
        queue.enqueue([*envelopes(3, number=424242), wrong])

    assert queue.counts() == {}
    assert "[[424242],{}]" not in str(refused.value)  # arguments are nobody's business


def test_nothing_to_enqueue_is_nothing(queue: Queue) -> None:
    queue.enqueue([])

    assert queue.counts() == {}


def test_jobs_within_a_transaction_commit_with_it(queue: Queue, database: Database) -> None:
    with database.begin() as connection:
        queue.enqueue_within(connection, envelopes(3))

    assert queue.counts() == {"ready": 3}


def test_jobs_within_a_transaction_are_gone_with_its_rollback(queue: Queue, database: Database) -> None:
    with pytest.raises(RuntimeError), database.begin() as connection:
        queue.enqueue_within(connection, envelopes(3))
        raise RuntimeError

    assert queue.counts() == {}


@pytest.mark.parametrize("count", [1, 700])
def test_all_jobs_of_a_transaction_are_one_statement(queue: Queue, database: Database, count: int) -> None:
    statements: list[str] = []
    with database.begin() as connection:
        event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

        queue.enqueue_within(connection, envelopes(count))

    inserts = [statement for statement in statements if statement.startswith(("INSERT", "WITH"))]
    assert len(inserts) == 1
    # Where arrays are no parameters, whether a tenant is closed is asked once, and not for each row.
    asked = not database.dialect.set_based and count > 1
    assert len(statements) - len(inserts) == asked
    assert queue.counts() == {"ready": count}


def test_a_waiting_job_can_be_cancelled(queue: Queue, claimer: Claimer) -> None:
    ready, scheduled = envelope(), envelope(due_at=soon())
    queue.enqueue([ready, scheduled])

    assert [queue.cancel(ready.id), queue.cancel(scheduled.id)] == [True, True]
    assert claimer.claim(5) == []
    row = queue.find(ready.id)
    assert row is not None
    assert (row.state, row.reason) == ("discarded", "cancelled")


def test_a_job_that_has_started_or_ended_cannot_be_cancelled(queue: Queue, claimer: Claimer) -> None:
    running, finished = envelopes(2)
    queue.enqueue([finished])
    claimer.finish(claimer.claim(1))
    queue.enqueue([running])
    claimer.claim(1)

    assert [queue.cancel(running.id), queue.cancel(finished.id), queue.cancel("no such id")] == [False] * 3


def test_an_enqueue_on_a_connection_that_died_is_tried_again(queue: Queue, database: Database) -> None:
    if database.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    queue.enqueue([envelope()])
    with database.begin() as connection:  # another connection than the one that is used next
        hang_up_on_others(connection)
        queue.enqueue([envelope()])

    assert queue.counts() == {"ready": 2}


def test_an_enqueue_finds_its_way_when_all_connections_have_died(queue: Queue, database: Database) -> None:
    if database.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    with database.autocommit(), database.autocommit():  # two that go back to the pool
        queue.enqueue([envelope()])
    with database.begin() as connection:
        hang_up_on_others(connection)
        queue.enqueue([envelope()])

    assert queue.counts() == {"ready": 2}


def test_what_the_database_says_of_a_job_does_not_tell_its_arguments(queue: Queue) -> None:
    with pytest.raises(IntegrityError) as refused:
        queue.enqueue([envelope(number=424242, priority=None)])

    assert queue.counts() == {}
    assert "[[424242],{}]" not in str(refused.value)


MANY = 350  # more than go by one statement everywhere

ODD = "a\\b\tc\nd\re 日本 \\N \\."


def test_many_jobs_are_stored_as_one_is(queue: Queue) -> None:
    jobs = [envelope("stra\\ße", name=ODD, queue=ODD, number=number, attempt=number % 3) for number in range(MANY)]

    queue.enqueue(jobs)

    for each in (jobs[0], jobs[-1]):
        row = queue.find(each.id)
        assert row is not None
        assert (row.name, row.queue, row.tenant, row.priority, row.state) == (ODD, ODD, "stra\\ße", 0, "ready")
        assert (row.attempt, row.enqueued_at, row.due_at) == (each.attempt, each.enqueued_at, None)
        assert each.encode() == row.data.encode()
    assert queue.counts() == {"ready": MANY}


def test_of_many_jobs_those_that_are_there_already_have_no_second_effect(queue: Queue) -> None:
    jobs = envelopes(MANY)
    queue.enqueue(jobs[:2])

    queue.enqueue(jobs)

    assert queue.counts() == {"ready": MANY}


def test_of_many_jobs_those_for_later_are_scheduled(queue: Queue) -> None:
    queue.enqueue([*envelopes(MANY), envelope(due_at=soon())])

    assert queue.counts() == {"ready": MANY, "scheduled": 1}


def test_of_many_jobs_none_is_stored_if_one_cannot_be(queue: Queue) -> None:
    with pytest.raises(IntegrityError) as refused:
        queue.enqueue([*envelopes(MANY, number=424242), envelope(priority=None)])

    assert queue.counts() == {}
    assert "[[424242],{}]" not in str(refused.value)


@pytest.mark.parametrize("count", [2, MANY])
def test_of_many_jobs_none_is_stored_if_the_tenant_of_one_is_closed(
    queue: Queue, database: Database, count: int
) -> None:
    Closing(database).drain("globex", None)

    with pytest.raises(TenantClosed):
        queue.enqueue([*envelopes(count), envelope("globex")])

    assert queue.counts() == {}


def test_many_jobs_are_enqueued_when_all_connections_have_died(queue: Queue, database: Database) -> None:
    if database.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    queue.enqueue(envelopes(MANY))
    with database.autocommit() as connection:
        hang_up_on_others(connection)

    queue.enqueue(envelopes(MANY))

    assert queue.counts() == {"ready": 2 * MANY}


# many plain jobs


@job(name="enqueued.note")
def note(number: int) -> None: ...


@unique("until_executed", key=lambda number: number)
@job(name="enqueued.only")
def only(number: int) -> None: ...


def test_many_plain_jobs_are_enqueued_as_they_are_made(adapter: DatabaseAdapter, claimer: Claimer) -> None:
    handles = perform_all_later([note.call(number) for number in range(MANY)])

    assert adapter.queue.counts() == {"ready": MANY}
    assert [claimed.id for claimed in claimer.claim(MANY)] == [handle.job_id for handle in handles]


@pytest.mark.parametrize("at", [1, MANY], ids=["early", "late"])
def test_none_of_many_jobs_is_enqueued_twice_if_one_of_them_has_a_key(adapter: DatabaseAdapter, at: int) -> None:
    calls = [note.call(number) for number in range(MANY)]
    handles = perform_all_later([*calls[:at], only.call(1), *calls[at:], only.call(1)])

    assert adapter.queue.counts() == {"ready": MANY + 1}
    assert [handle.enqueued for handle in handles] == [*[True] * (MANY + 1), False]


def test_none_of_many_plain_jobs_is_enqueued_if_one_cannot_travel(adapter: DatabaseAdapter) -> None:
    with pytest.raises(SerializationError):
        perform_all_later([*(note.call(number) for number in range(MANY)), note.call(object())])  # type: ignore[arg-type]

    assert adapter.queue.counts() == {}


def test_of_many_plain_jobs_one_may_be_for_later(adapter: DatabaseAdapter) -> None:
    perform_all_later([*(note.call(number) for number in range(MANY)), note.set(wait=60).call(MANY)])

    assert adapter.queue.counts() == {"ready": MANY, "scheduled": 1}

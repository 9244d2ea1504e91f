from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import create_engine

from tenantjobs import EnqueueError
from tenantjobs.locks import Lock
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database, own
from tenantjobs_db.keeping import Keeping
from tenantjobs_db.lease import Lease
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settlement import Finish, GiveBack, Settlement
from tests.tenantjobs_db.making import Claimer, envelope, let_expire


@pytest.fixture
def locks(database: Database) -> DatabaseLocks:
    return DatabaseLocks(database)


def lock(owner: str, key: str = "k", tenant: str = "acme", seconds: float = 60.0) -> Lock:
    return Lock(tenant, key, owner, seconds)


def test_a_key_is_one_job_s_until_that_frees_it(locks: DatabaseLocks) -> None:
    assert locks.lock([lock("a")]) == {}
    assert locks.lock([lock("b")]) == {"b": "a"}
    locks.unlock([lock("b")])
    assert locks.lock([lock("b")]) == {"b": "a"}, "what another has is not freed"
    locks.unlock([lock("a")])
    assert locks.lock([lock("b")]) == {}


def test_the_same_job_takes_its_own_lock_again_for_longer(locks: DatabaseLocks, database: Database) -> None:
    locks.lock([lock("a", seconds=-60.0)])
    assert locks.lock([lock("a")]) == {}
    assert locks.lock([lock("b")]) == {"b": "a"}


def test_a_lock_that_has_ended_is_free_for_anybody(locks: DatabaseLocks) -> None:
    locks.lock([lock("a", seconds=-1.0)])

    assert locks.lock([lock("b")]) == {}
    assert locks.lock([lock("a")]) == {"a": "b"}


def test_keys_are_those_of_a_tenant(locks: DatabaseLocks) -> None:
    assert locks.lock([lock("a", "b:c", "a"), lock("b", "c", "a:b"), lock("c", "b:c", "")]) == {}


def test_many_are_taken_by_one_call_and_the_first_of_a_key_gets_it(locks: DatabaseLocks) -> None:
    locks.lock([lock("before", "held")])

    answer = locks.lock([lock("a", "z"), lock("b", "held"), lock("c", "z"), lock("d", "y")])

    assert answer == {"b": "before", "c": "a"}
    assert locks.lock([lock("e", "y")]) == {"e": "d"}


def test_long_keys_are_told_apart(locks: DatabaseLocks) -> None:
    long = "x" * 5000

    assert locks.lock([lock("a", long + "1"), lock("b", long + "2")]) == {}
    assert locks.lock([lock("c", long + "1")]) == {"c": "a"}


def test_locks_that_have_ended_are_pruned_and_others_stay(locks: DatabaseLocks, database: Database) -> None:
    locks.lock([lock("a", "ended", seconds=-1.0), lock("b", "held")])

    assert (locks.prune(), locks.prune()) == (1, 0)
    assert locks.lock([lock("c", "held")]) == {"c": "b"}


def test_a_rollback_frees_what_was_taken_in_the_transaction(
    database: Database, url: str, build: Callable[..., DatabaseAdapter]
) -> None:
    engine = create_engine(url)
    locks = build(url=None, engine=engine).locks

    with engine.connect() as connection:
        assert locks.joins(connection)
        assert locks.lock([lock("a")], connection) == {}
        connection.rollback()
    with engine.begin() as connection:
        assert locks.lock([lock("b")], connection) == {}

    assert locks.lock([lock("a")]) == {"a": "b"}
    engine.dispose()


def test_of_many_who_want_the_same_keys_at_once_each_goes_to_one(database: Database) -> None:
    """In any order: they do not wait for each other for ever, either."""
    keys = [f"k{number}" for number in range(20)]
    answers: list[Sequence[str]] = []
    start = threading.Barrier(6)

    def want(number: int) -> None:
        locks = DatabaseLocks(database)
        wanted = [lock(f"{number}-{key}", key) for key in (keys if number % 2 else reversed(keys))]
        start.wait()
        refused = locks.lock(wanted)
        answers.append([each.key for each in wanted if each.owner not in refused])

    threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(key for got in answers for key in got) == sorted(keys)


@pytest.mark.parametrize("late", [GiveBack, Finish])
def test_a_worker_that_comes_late_leaves_no_lock_of_a_job_that_is_over(
    locks: DatabaseLocks, queue: Queue, claimer: Claimer, late: type[Settlement]
) -> None:
    """It was stopped for longer than its lease, and took the lock when others had ended the job already."""
    job = envelope()
    queue.enqueue([job])
    claimed = claimer.claim_one()
    other = _taken_over(claimer)
    locks.lock([lock(job.id)])
    claimer.settle(late(claimed))
    assert locks.lock([lock("b")]) == {"b": job.id}, "the job goes on, and has its lock"

    other.finish([other.claim_one()])
    locks.lock([lock(job.id)])
    claimer.settle(late(claimed))

    assert locks.lock([lock("b")]) == {}


def _taken_over(claimer: Claimer) -> Claimer:
    """Another process, which has taken over the jobs of this one."""
    database = claimer.consumer._database
    other = Claimer(database)
    let_expire(database, claimer.process)
    other.processes.reap(other.process)
    return other


def test_a_job_that_too_many_processes_died_with_frees_its_lock(
    database: Database, locks: DatabaseLocks, queue: Queue, claimer: Claimer
) -> None:
    job = envelope()
    queue.enqueue([job])
    locks.lock([lock(job.id)])
    claimer.claim()
    settings = DatabaseSettings(url="sqlite://", max_deaths=1)
    processes = Processes(database, lease=60.0, max_deaths=0)
    processes.leave(claimer.process)
    lease = Lease(processes, "test", 60.0)

    Keeping(database, processes, lease, settings).reap()

    assert queue.find(job.id).state == "failed"  # type: ignore[union-attr]  # it is there
    assert locks.lock([lock("another")]) == {}


def test_cancelling_by_the_id_frees_the_lock(adapter: DatabaseAdapter) -> None:
    job = envelope()
    adapter.enqueue(job)
    adapter.locks.lock([lock(job.id)])

    assert adapter.cancel(job.id)
    assert adapter.locks.lock([lock("another")]) == {}


def test_one_that_runs_is_not_cancelled_and_keeps_its_lock(adapter: DatabaseAdapter, claimer: Claimer) -> None:
    job = envelope()
    adapter.enqueue(job)
    adapter.locks.lock([lock(job.id)])
    claimer.claim()

    assert not adapter.cancel(job.id)
    assert adapter.locks.lock([lock("another")]) == {"another": job.id}


def test_a_database_without_the_table_says_what_to_do(tmp_path: object) -> None:
    bare = own("sqlite://")

    with pytest.raises(EnqueueError, match="db upgrade"):
        DatabaseLocks(bare).lock([lock("a")])
    bare.close()

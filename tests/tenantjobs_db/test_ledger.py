from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, create_engine, update

from tenantjobs.errors import LeaseLost
from tenantjobs.idempotency import Claim
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.tables import ledger as rows
from tests.tenantjobs_db.making import LONG_AGO


@pytest.fixture
def ledger(database: Database) -> DatabaseLedger:
    return DatabaseLedger(database)


def taken(ledger: DatabaseLedger, key: str = "k", owner: str = "job", tenant: str = "acme", **wish: object) -> Claim:
    claim = ledger.acquire(tenant, key, owner, **({"lease": 60.0, "ttl": None} | wish))  # type: ignore[arg-type]
    assert isinstance(claim, Claim)
    return claim


def test_a_key_is_taken_once_and_done_once(ledger: DatabaseLedger) -> None:
    claim = taken(ledger)

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "running"
    ledger.complete(claim, None)
    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"
    assert ledger.acquire("acme", "k", "job", 60.0, None) == "done"


def test_keys_are_those_of_a_tenant(ledger: DatabaseLedger) -> None:
    taken(ledger, "b:c", tenant="a")

    assert taken(ledger, "c", tenant="a:b").key == "c"
    assert taken(ledger, "b:c", tenant="").tenant == ""


def test_a_released_key_is_free_again(ledger: DatabaseLedger) -> None:
    ledger.release(taken(ledger))

    assert taken(ledger, owner="other").key == "k"


def test_the_same_job_takes_its_own_key_over_and_the_earlier_attempt_loses_it(ledger: DatabaseLedger) -> None:
    earlier = taken(ledger, owner="job")
    later = taken(ledger, owner="job")

    with pytest.raises(LeaseLost):
        ledger.complete(earlier, None)
    ledger.release(earlier)
    ledger.complete(later, None)
    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"


def test_a_lease_that_has_run_out_is_free_for_anybody(ledger: DatabaseLedger) -> None:
    dead = taken(ledger, lease=-1.0)
    taken(ledger, owner="other")

    with pytest.raises(LeaseLost):
        ledger.complete(dead, None)


def test_a_lease_that_has_run_out_still_counts_if_nobody_wanted_the_key(ledger: DatabaseLedger) -> None:
    ledger.complete(taken(ledger, lease=-1.0), None)

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"


def test_a_key_with_a_ttl_is_forgotten_that_long_after_it_was_done(ledger: DatabaseLedger, database: Database) -> None:
    ledger.complete(taken(ledger, ttl=3600.0), None)

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"
    _let_expire(database)
    assert taken(ledger, owner="other").key == "k"


def test_keys_that_are_used_up_are_pruned_and_others_stay(ledger: DatabaseLedger, database: Database) -> None:
    ledger.complete(taken(ledger, "expired", ttl=3600.0), None)
    taken(ledger, "abandoned")
    _let_expire(database)
    ledger.complete(taken(ledger, "for ever"), None)
    taken(ledger, "running")
    taken(ledger, "lately abandoned", lease=-1.0)

    assert ledger.prune() == 2
    assert ledger.prune() == 0
    assert ledger.acquire("acme", "for ever", "other", 60.0, None) == "done"


def test_long_keys_are_told_apart(ledger: DatabaseLedger) -> None:
    long = "x" * 5000
    first = taken(ledger, long + "1")
    second = taken(ledger, long + "2")

    ledger.complete(first, None)

    assert ledger.acquire("acme", long + "1", "other", 60.0, None) == "done"
    assert ledger.acquire("acme", long + "2", "other", 60.0, None) == "running"
    assert second.key == long + "2"


def test_a_key_in_the_transaction_of_the_work_commits_with_it(
    database: Database, url: str, build: Callable[..., DatabaseAdapter]
) -> None:
    engine = create_engine(url)
    ledger = build(url=None, engine=engine).ledger
    claim = taken(ledger)

    with engine.connect() as connection:
        assert ledger.joins(connection)
        ledger.complete(claim, connection)
        connection.rollback()
    undone = ledger.acquire("acme", "k", "other", 60.0, None)
    with engine.begin() as connection:
        ledger.complete(claim, connection)

    assert undone == "running"
    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"
    engine.dispose()


def test_a_connection_of_another_engine_is_not_joined(
    database: Database, url: str, build: Callable[..., DatabaseAdapter]
) -> None:
    engine = create_engine(url)
    ledger = build().ledger
    claim = taken(ledger)

    with engine.connect() as connection:
        assert not ledger.joins(connection)
        ledger.complete(claim, connection)
        connection.rollback()

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"
    engine.dispose()


def test_of_many_who_want_a_key_one_gets_it(database: Database) -> None:
    answers: list[object] = []
    start = threading.Barrier(6)

    def want(owner: str) -> None:
        ledger = DatabaseLedger(database)
        start.wait()
        answers.append(ledger.acquire("acme", "k", owner, 60.0, None))

    threads = [threading.Thread(target=want, args=(f"job-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert answers.count("running") == 5


def test_a_key_is_done_once_however_its_holders_race(database: Database) -> None:
    """Owners take the key, complete it in a transaction with their effect, or lose it."""
    effects: list[str] = []
    start = threading.Barrier(5)

    def work(owner: str) -> None:
        ledger = DatabaseLedger(database)
        start.wait()
        for _ in range(5):
            answer = ledger.acquire("acme", "k", owner, -1.0, None)  # dead at once: anybody may take over
            if isinstance(answer, Claim):
                try:
                    ledger.complete(answer, None)
                    effects.append(owner)
                except LeaseLost:
                    pass

    threads = [threading.Thread(target=work, args=(f"job-{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(effects) == 1


def _let_expire(database: Database) -> None:
    with database.begin() as connection:
        _write(connection)


def _write(connection: Connection) -> None:
    connection.execute(update(rows).values(lease_until=LONG_AGO))
    connection.execute(update(rows).where(rows.c.expires_at.is_not(None)).values(expires_at=LONG_AGO))

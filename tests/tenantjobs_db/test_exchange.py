"""An exchange of both kinds, whatever it takes: as one statement where the database can, else step by step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, text

from tenantjobs_db.consumer import Consumer
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database, own
from tenantjobs_db.prepared import Prepared
from tenantjobs_db.queue import Queue
from tenantjobs_db.rooms import Reserve
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Finish, GiveBack
from tests.tenantjobs_db.making import Claimer, envelopes


@pytest.fixture
def executed(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements from now on, whether SQLAlchemy executes them or the driver alone."""
    statements: list[str] = []
    answered = Prepared.rows

    def rows(statement: Prepared, values: Mapping[str, Any]) -> Sequence[Any]:
        statements.append(statement._text)
        return answered(statement, values)

    monkeypatch.setattr(Prepared, "rows", rows)
    for engine in (database.engine, database._autocommit):
        event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    return statements


def test_what_is_finished_is_settled_as_others_are_claimed(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(5))
    first, second = claimer.claim(2)

    exchange = claimer.consumer.exchange(claimer.process, [Finish(first), Finish(second, "its guard said no")], 2)

    assert exchange.refused == []
    assert len(exchange.claimed) == 2
    assert queue.counts() == {"finished": 2, "claimed": 2, "ready": 1}
    assert queue.find(second.id).reason == "its guard said no"  # type: ignore[union-attr]  # it is there


def test_the_finished_jobs_that_are_somebody_elses_by_now_are_named(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(4))
    late, ours = Finish(claimer.claim_one()), Finish(claimer.claim_one())
    claimer.settle(GiveBack(late.claim))

    exchange = claimer.consumer.exchange(claimer.process, [late, ours], 1)

    assert exchange.refused == [late]
    assert [claim.id for claim in exchange.claimed] == [late.claim.id]
    assert queue.counts() == {"finished": 1, "claimed": 1, "ready": 2}


@pytest.mark.postgres
def test_a_job_whose_row_somebody_writes_meanwhile_is_settled_all_the_same(postgres_url: str) -> None:
    database = own(postgres_url)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tj_jobs"))
    queue, claimer = Queue(database), Claimer(database)
    queue.enqueue(envelopes(3))
    done = [Finish(claim) for claim in claimer.claim(2)]

    with ThreadPoolExecutor(1) as thread:
        with database.begin() as other:
            written = {"id": done[0].claim.id}
            other.execute(text("UPDATE tj_jobs SET priority = priority WHERE id = :id"), written)
            exchanging = thread.submit(claimer.consumer.exchange, claimer.process, done, 1)
            await_blocked(database)
        exchange = exchanging.result(20)

    assert exchange.refused == []
    assert len(exchange.claimed) == 1
    assert queue.counts() == {"finished": 2, "claimed": 1}
    database.close()


def await_blocked(database: Database) -> None:
    """Until a statement waits for the row of another one."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(500):
        with database.autocommit() as connection:
            if connection.execute(waiting).scalar_one():
                return
        time.sleep(0.02)
    raise TimeoutError("nobody waits")


def test_where_finished_jobs_are_not_kept_they_go_as_others_are_claimed(queue: Queue, database: Database) -> None:
    claimer = Claimer(database, keep_finished=False)
    queue.enqueue(envelopes(3))
    done = [Finish(claim) for claim in claimer.claim(2)]

    assert len(claimer.consumer.exchange(claimer.process, done, 5).claimed) == 1
    assert queue.counts() == {"claimed": 1}


def test_the_rest_of_a_tenants_share_goes_to_the_others_in_the_same_exchange(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue([*envelopes(1, "acme"), *envelopes(9, "globex")])

    assert len(claimer.consumer.exchange(claimer.process, [], 8).claimed) == 8


def test_it_is_one_statement_where_the_database_can(
    queue: Queue, claimer: Claimer, database: Database, executed: list[str]
) -> None:
    queue.enqueue(envelopes(9))
    done = [Finish(claim) for claim in claimer.claim(3)]
    executed.clear()

    claimer.consumer.exchange(claimer.process, done, 3)

    assert not database.dialect.set_based or len(executed) == 1


def test_while_a_tenant_is_paused_the_jobs_of_others_are_one_statement_too(
    queue: Queue, claimer: Claimer, database: Database, executed: list[str]
) -> None:
    queue.enqueue([*envelopes(9, "acme"), *envelopes(9, "globex")])
    Controls(database).pause("tenant", "acme")
    claims = claimer.claim(3)
    executed.clear()

    exchange = claimer.consumer.exchange(claimer.process, [Finish(claim) for claim in claims], 3)

    assert [claim.tenant for claim in [*claims, *exchange.claimed]] == ["globex"] * 6
    assert not database.dialect.set_based or len(executed) == 1


@pytest.mark.parametrize(("held", "wanted", "had"), [(2, 1, {"globex": 1}), (1, 3, {"acme": 1, "globex": 2})])
def test_no_tenant_has_more_than_the_reserve_leaves_to_it(
    queue: Queue, claimer: Claimer, database: Database, held: int, wanted: int, had: dict[str, int]
) -> None:
    queue.enqueue(envelopes(9, "acme"))
    running = claimer.claim(held)
    queue.enqueue(envelopes(9, "globex"))
    reserve = Reserve(4, 0.5)
    reserve.heard_of_several = True
    consumer = Consumer(database, Selection(["*"]), reserve=reserve)

    claimed = consumer.exchange(claimer.process, [], wanted, running).claimed

    assert Counter(claim.tenant for claim in claimed) == had


def test_jobs_for_which_we_were_called_are_claimed_without_asking_where_there_are_any(
    queue: Queue, claimer: Claimer, database: Database, executed: list[str]
) -> None:
    queue.enqueue([*envelopes(1, queue="low"), *envelopes(1, queue="mail")])
    executed.clear()

    exchange = claimer.consumer.exchange(claimer.process, [], 5, called=["mail"])

    assert [claim.queue for claim in exchange.claimed] == ["mail"]
    assert not database.dialect.set_based or len(executed) == 1
    assert [claim.queue for claim in claimer.claim(5)] == ["low"]


def test_whoever_is_called_in_vain_finds_what_there_is_all_the_same(queue: Queue, claimer: Claimer) -> None:
    queue.enqueue(envelopes(2, queue="low"))

    assert len(claimer.consumer.exchange(claimer.process, [], 5, called=["mail"]).claimed) == 2


def test_a_call_for_a_queue_that_is_not_served_is_for_others(queue: Queue, database: Database) -> None:
    claimer = Claimer(database, "mail*")
    queue.enqueue(envelopes(1, queue="low"))

    assert claimer.consumer.exchange(claimer.process, [], 5, called=["low"]).claimed == []


def test_finished_jobs_are_one_statement_too_when_nothing_is_left_to_claim(
    queue: Queue, claimer: Claimer, database: Database, executed: list[str]
) -> None:
    queue.enqueue(envelopes(2))
    done = [Finish(claim) for claim in claimer.claim(2)]
    executed.clear()

    assert claimer.settle(*done) == []
    assert not database.dialect.set_based or len(executed) == 1

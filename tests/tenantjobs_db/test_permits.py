from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from tenantjobs import EnqueueError
from tenantjobs.permits import Request, reserved_token
from tenantjobs.testing.permits import MemoryPermits
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database, own
from tenantjobs_db.permits import DatabasePermits
from tests.tenantjobs_db.making import envelope


@pytest.fixture
def permits(database: Database) -> DatabasePermits:
    return DatabasePermits(database)


def wish(token: str, key: str = "k", *, of: int = 2, seconds: float = 60.0, owner: str | None = None) -> Request:
    return Request(key, of, "acme", owner or token, token, seconds)


@pytest.mark.parity("1b.17")
def test_a_key_has_no_more_holders_than_it_may_have(permits: DatabasePermits) -> None:
    assert permits.take([wish("a"), wish("b"), wish("c")]) == {"c"}
    assert permits.take([wish("d"), wish("other", "l")]) == {"d"}
    permits.give_back([wish("a")])
    permits.give_back([wish("a")])
    assert permits.take([wish("e"), wish("f")]) == {"f"}


def test_an_execution_that_has_its_permit_keeps_it_for_longer(permits: DatabasePermits) -> None:
    permits.take([wish("a", of=1, seconds=-1)])

    assert permits.take([wish("a", of=1)]) == set()
    assert permits.take([wish("b", of=1)]) == {"b"}


def test_two_executions_of_one_job_are_two(permits: DatabasePermits) -> None:
    assert permits.take([wish("first", owner="job", of=1), wish("second", owner="job", of=1)]) == {"second"}


def test_what_a_job_has_reserved_is_given_to_its_execution(permits: DatabasePermits) -> None:
    permits.take([wish(reserved_token("job"), owner="job", of=1)])

    assert permits.take([wish("another", of=1)]) == {"another"}
    assert permits.take([wish("execution", owner="job", of=1)]) == set()
    permits.give_back([wish("execution", owner="job", of=1)])
    assert permits.take([wish("another", of=1)]) == set()


def test_one_that_has_ended_is_free_for_anybody_and_renewed_it_has_not_ended(permits: DatabasePermits) -> None:
    permits.take([wish("a", of=1, seconds=-1)])
    assert permits.renew(wish("a", of=1))
    assert permits.take([wish("b", of=1)]) == {"b"}

    permits.renew(wish("a", of=1, seconds=-1))
    assert permits.holds(wish("a", of=1)), "nobody has taken it"
    assert permits.take([wish("b", of=1)]) == set()
    assert not permits.holds(wish("a", of=1))
    assert not permits.renew(wish("a", of=1))


def test_after_the_limit_was_lowered_nobody_is_let_in_before_enough_have_ended(permits: DatabasePermits) -> None:
    permits.take([wish("a", of=3), wish("b", of=3), wish("c", of=3)])
    permits.give_back([wish("a")])

    assert permits.take([wish("d", of=1)]) == {"d"}
    permits.give_back([wish("b"), wish("c")])
    assert permits.take([wish("d", of=1)]) == set()


def test_those_that_have_ended_are_pruned_and_others_stay(permits: DatabasePermits) -> None:
    permits.take([wish("a", "ended", seconds=-1), wish("b", "held", of=1)])

    assert (permits.prune(), permits.prune()) == (1, 0)
    assert permits.take([wish("c", "held", of=1)]) == {"c"}


def test_long_keys_are_told_apart(permits: DatabasePermits) -> None:
    long = "x" * 5000

    assert permits.take([wish("a", long + "1", of=1), wish("b", long + "2", of=1)]) == set()
    assert permits.take([wish("c", long + "1", of=1)]) == {"c"}


def test_a_rollback_frees_what_was_taken_in_the_transaction(
    database: Database, url: str, build: Callable[..., DatabaseAdapter]
) -> None:
    engine = create_engine(url)
    permits = build(url=None, engine=engine).permits

    with engine.connect() as connection:
        assert permits.take([wish("a", of=1)], connection) == set()
        connection.rollback()

    assert permits.take([wish("b", of=1)]) == set()
    engine.dispose()


@pytest.mark.parity("1b.17")
def test_of_many_who_want_the_same_keys_at_once_as_many_get_them_as_may(database: Database) -> None:
    """In any order: they do not wait for each other for ever, either."""
    keys = [f"k{number}" for number in range(10)]
    given: list[str] = []
    start = threading.Barrier(8)

    def want(number: int) -> None:
        permits = DatabasePermits(database)
        wanted = [wish(f"{number}-{key}", key, of=3) for key in (keys if number % 2 else reversed(keys))]
        start.wait()
        refused = permits.take(wanted)
        given.extend(each.key for each in wanted if each.token not in refused)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(given) == sorted(keys * 3)


def test_never_more_hold_one_than_may_while_many_take_and_give_back(database: Database) -> None:
    inside, most, rounds = 0, 0, 0
    counting = threading.Lock()
    start = threading.Barrier(6)

    def work(number: int) -> None:
        nonlocal inside, most, rounds
        permits = DatabasePermits(database)
        start.wait()
        for turn in range(15):
            wanted = wish(f"{number}-{turn}", of=2)
            if permits.take([wanted]):
                continue
            with counting:
                inside, rounds = inside + 1, rounds + 1
                most = max(most, inside)
            with counting:
                inside -= 1
            permits.give_back([wanted])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most <= 2
    assert rounds > 0


def test_cancelling_by_the_id_frees_what_was_reserved(adapter: DatabaseAdapter) -> None:
    job = envelope()
    adapter.enqueue(job)
    adapter.permits.take([wish(reserved_token(job.id), owner=job.id, of=1)])

    assert adapter.cancel(job.id)
    assert adapter.permits.take([wish("another", of=1)]) == set()


def test_a_database_without_the_table_says_what_to_do() -> None:
    bare = own("sqlite://")

    with pytest.raises(EnqueueError, match="db upgrade"):
        DatabasePermits(bare).take([wish("a")])
    bare.close()


ENDED, LASTING = -60.0, 3600.0
requests = st.builds(
    lambda key, token, ended: Request(key, 2, "acme", token, token, ENDED if ended else LASTING),
    key=st.sampled_from(("k", "l")),
    token=st.sampled_from(("a", "b", "c", "d")),
    ended=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("take", "give_back")), requests), max_size=14))
def test_the_database_and_memory_answer_as_a_plain_model_does(steps: list[tuple[str, Request]]) -> None:
    database = own("sqlite://")
    schema.upgrade(database.engine)
    keepers = (DatabasePermits(database), MemoryPermits())
    model: dict[str, dict[str, bool]] = {"k": {}, "l": {}}  # by key: tokens, and whether they last
    try:
        for step, request in steps:
            held = model[request.key]
            if step == "give_back":
                held.pop(request.token, None)
                for keeper in keepers:
                    keeper.give_back([request])
                continue
            others = [token for token, lasts in held.items() if lasts and token != request.token]
            refused = set() if held.get(request.token) or len(others) < request.of else {request.token}
            if not refused:
                held[request.token] = request.seconds == LASTING
            assert [set(keeper.take([request])) for keeper in keepers] == [refused, refused]
    finally:
        database.close()

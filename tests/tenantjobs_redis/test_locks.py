from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from tenantjobs.errors import LedgerUnavailable
from tenantjobs.locks import Lock
from tenantjobs_redis.locks import RedisLocks
from tenantjobs_redis.settings import RedisSettings
from tenantjobs_redis.store import Store
from tests.tenantjobs_redis.conftest import NOBODY

pytestmark = pytest.mark.services


@pytest.fixture
def locks(store: Store) -> RedisLocks:
    return RedisLocks(store)


def lock(owner: str, key: str = "k", tenant: str = "acme", seconds: float = 60.0) -> Lock:
    return Lock(tenant, key, owner, seconds)


def test_a_key_is_one_job_s_until_that_frees_it(locks: RedisLocks) -> None:
    assert locks.lock([lock("a")]) == {}
    assert locks.lock([lock("b")]) == {"b": "a"}
    locks.unlock([lock("b")])
    assert locks.lock([lock("b")]) == {"b": "a"}, "what another has is not freed"
    locks.unlock([lock("a")])
    assert locks.lock([lock("b")]) == {}


def test_the_same_job_takes_its_own_lock_again_for_longer(locks: RedisLocks, store: Store) -> None:
    locks.lock([lock("a")])
    locks.lock([lock("a", seconds=600.0)])

    assert locks.lock([lock("b")]) == {"b": "a"}
    assert 60_000 < store.redis.pttl(store.place("lock", "acme", "k")) <= 600_000


def test_keys_are_those_of_a_tenant(locks: RedisLocks) -> None:
    assert locks.lock([lock("a", "b:c", "a"), lock("b", "c", "a:b"), lock("c", "b:c", "")]) == {}


def test_many_are_taken_by_one_call_and_the_first_of_a_key_gets_it(locks: RedisLocks) -> None:
    locks.lock([lock("before", "held")])

    assert locks.lock([lock("a", "x"), lock("b", "x"), lock("c", "held"), lock("d", "y")]) == {"b": "a", "c": "before"}
    assert locks.lock([lock("e", "y")]) == {"e": "d"}


def test_long_keys_are_told_apart(locks: RedisLocks) -> None:
    assert locks.lock([lock("a", "x" * 5000 + "1"), lock("b", "x" * 5000 + "2")]) == {}
    assert locks.lock([lock("c", "x" * 5000 + "1")]) == {"c": "a"}


def test_a_lock_whose_answer_was_lost_is_given_back(
    locks: RedisLocks, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job is not enqueued, so that nobody would free it."""
    ask = locks._all
    lost = [LedgerUnavailable("the answer was lost")]

    def answer_lost(*args: object) -> object:
        found = ask(*args)  # type: ignore[arg-type]
        if lost:
            raise lost.pop()
        return found

    monkeypatch.setattr(locks, "_all", answer_lost)
    with pytest.raises(LedgerUnavailable):
        locks.lock([lock("a")])

    assert locks.lock([lock("b")]) == {}


def test_a_redis_that_is_not_there_gives_no_lock() -> None:
    with pytest.raises(LedgerUnavailable, match="ConnectionError"):
        RedisLocks(Store(RedisSettings(url=NOBODY))).lock([lock("a")])


def test_of_many_who_want_the_same_keys_at_once_each_goes_to_one(settings: RedisSettings) -> None:
    start = threading.Barrier(8)
    answers: list[Mapping[str, str]] = []

    def want(number: int) -> None:
        mine = RedisLocks(Store(settings))
        start.wait()
        answers.append(mine.lock([lock(f"{number}-{key}", key) for key in ("x", "y", "z")]))

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(len(answer) for answer in answers) == 7 * 3

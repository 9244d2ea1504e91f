from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as some

from tenantjobs.errors import LeaseLost, LedgerUnavailable
from tenantjobs.idempotency import Claim, Ledger
from tenantjobs.testing.ledger import MemoryLedger
from tenantjobs_redis.ledger import ABANDONED, RedisLedger
from tenantjobs_redis.settings import RedisSettings
from tenantjobs_redis.store import Store
from tests.services import REDIS, require
from tests.tenantjobs_redis.conftest import NOBODY

pytestmark = pytest.mark.services


@pytest.fixture
def ledger(store: Store) -> RedisLedger:
    return RedisLedger(store)


def taken(ledger: Ledger, key: str = "k", owner: str = "job", tenant: str = "acme", **wish: object) -> Claim:
    claim = ledger.acquire(tenant, key, owner, **({"lease": 60.0, "ttl": None} | wish))  # type: ignore[arg-type]
    assert isinstance(claim, Claim)
    return claim


def seconds_left(store: Store, key: str = "k", tenant: str = "acme") -> float | None:
    """For how long Redis keeps the key; None: for ever."""
    left = store.redis.pttl(store.place("key", tenant, key))
    return None if left == -1 else left / 1000


def test_a_key_is_taken_once_and_done_once(ledger: RedisLedger) -> None:
    claim = taken(ledger)

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "running"
    ledger.complete(claim, None)
    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"
    assert ledger.acquire("acme", "k", "job", 60.0, None) == "done"


def test_keys_are_those_of_a_tenant(ledger: RedisLedger) -> None:
    taken(ledger, "b:c", tenant="a")

    assert taken(ledger, "c", tenant="a:b").key == "c"
    assert taken(ledger, "b:c", tenant="").tenant == ""
    assert taken(ledger, "1:a:b:c", tenant="").tenant == ""


def test_a_released_key_is_free_again(ledger: RedisLedger) -> None:
    ledger.release(taken(ledger))

    assert taken(ledger, owner="other").key == "k"


def test_a_key_that_is_done_is_not_released(ledger: RedisLedger) -> None:
    claim = taken(ledger)
    ledger.complete(claim, None)
    ledger.release(claim)

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"


def test_the_same_job_takes_its_own_key_over_and_the_earlier_attempt_loses_it(ledger: RedisLedger) -> None:
    earlier = taken(ledger, owner="job")
    later = taken(ledger, owner="job")

    with pytest.raises(LeaseLost):
        ledger.complete(earlier, None)
    ledger.release(earlier)
    ledger.complete(later, None)
    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"


def test_a_lease_that_has_run_out_is_free_for_anybody(ledger: RedisLedger) -> None:
    dead = taken(ledger, lease=-1.0)
    taken(ledger, owner="other")

    with pytest.raises(LeaseLost):
        ledger.complete(dead, None)


def test_a_lease_that_has_run_out_still_counts_if_nobody_wanted_the_key(ledger: RedisLedger) -> None:
    ledger.complete(taken(ledger, lease=-1.0), None)

    assert ledger.acquire("acme", "k", "other", 60.0, None) == "done"


def test_a_key_with_a_ttl_is_forgotten_that_long_after_it_was_done(ledger: RedisLedger, store: Store) -> None:
    ledger.complete(taken(ledger, ttl=3600.0), None)

    left = seconds_left(store)
    assert left is not None
    assert 3000 < left <= 3600


def test_a_key_without_a_ttl_is_kept_for_ever_once_it_is_done(ledger: RedisLedger, store: Store) -> None:
    ledger.complete(taken(ledger), None)

    assert seconds_left(store) is None


def test_a_key_that_was_abandoned_is_forgotten_in_the_end(ledger: RedisLedger, store: Store) -> None:
    taken(ledger, lease=60.0)

    left = seconds_left(store)
    assert left is not None
    assert ABANDONED < left <= ABANDONED + 60


def test_a_step_whose_answer_was_lost_may_be_repeated(ledger: RedisLedger, store: Store) -> None:
    claim = taken(ledger, ttl=3600.0)
    ledger.complete(claim, None)
    store.redis.pexpire(store.place("key", "acme", "k"), 1_000_000)
    ledger.complete(claim, None)

    left = seconds_left(store)
    assert left is not None
    assert left <= 1000, "the time is that of the first one"


def test_long_keys_are_told_apart(ledger: RedisLedger) -> None:
    long = "x" * 5000
    first = taken(ledger, long + "1")
    second = taken(ledger, long + "2")

    ledger.complete(first, None)

    assert ledger.acquire("acme", long + "1", "other", 60.0, None) == "done"
    assert ledger.acquire("acme", long + "2", "other", 60.0, None) == "running"
    assert second.key == long + "2"


def test_a_redis_that_is_not_there_gives_no_key() -> None:
    ledger = RedisLedger(Store(RedisSettings(url=NOBODY)))

    with pytest.raises(LedgerUnavailable, match=r"\[redis\] url does not say who has the key \(ConnectionError"):
        ledger.acquire("acme", "k", "job", 60.0, None)


def test_of_many_who_want_a_key_one_gets_it(settings: RedisSettings) -> None:
    answers: list[object] = []
    start = threading.Barrier(12)

    def want(owner: str) -> None:
        ledger = RedisLedger(Store(settings))
        start.wait()
        answers.append(ledger.acquire("acme", "k", owner, 60.0, None))

    _at_once(want, 12)

    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert answers.count("running") == 11


def test_a_key_is_done_once_however_its_holders_race(settings: RedisSettings) -> None:
    """Owners take the key and complete it, or lose it."""
    effects: list[str] = []
    start = threading.Barrier(8)

    def work(owner: str) -> None:
        ledger = RedisLedger(Store(settings))
        start.wait()
        for _ in range(20):
            answer = ledger.acquire("acme", "k", owner, -1.0, None)  # dead at once: anybody may take over
            if isinstance(answer, Claim):
                try:
                    ledger.complete(answer, None)
                    effects.append(owner)
                except LeaseLost:
                    pass

    _at_once(work, 8)

    assert len(effects) == 1


@pytest.fixture(scope="module")
def lasting() -> Iterator[Store]:
    """One for all examples, each of which has tenants of its own."""
    require("Redis")
    prefix = f"tj{uuid.uuid4().hex[:10]}:"
    store = Store(RedisSettings(url=REDIS, prefix=prefix))
    yield store
    for name in store.redis.scan_iter(f"{prefix}*"):
        store.redis.delete(name)
    store.redis.close()


OWNERS = some.sampled_from(["a", "b", "c"])
STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("acquire"), OWNERS, some.sampled_from([-1.0, 60.0]), some.sampled_from([None, 3600.0])),
        some.tuples(some.sampled_from(["complete", "release"]), some.integers(0, 9)),
    ),
    max_size=20,
)


@given(steps=STEPS)
@tried(max_examples=100)
def test_it_answers_as_the_ledger_in_memory_does_whatever_is_asked(
    steps: list[tuple[object, ...]], lasting: Store
) -> None:
    tenant = uuid.uuid4().hex

    def told(ledger: Ledger) -> list[object]:
        claims: list[Claim] = []
        found: list[object] = []
        for verb, *more in steps:
            if verb == "acquire":
                owner, lease, ttl = more
                answer = ledger.acquire(tenant, "k", owner, lease, ttl)  # type: ignore[arg-type]
                found.append("taken" if isinstance(answer, Claim) else answer)
                claims += [answer] if isinstance(answer, Claim) else []
            elif claims:
                claim = claims[more[0] % len(claims)]  # type: ignore[operator]
                try:
                    if verb == "release":
                        ledger.release(claim)
                    else:
                        ledger.complete(claim, None)
                        found.append("completed")
                except LeaseLost:
                    found.append("lost")
        return found

    assert told(RedisLedger(lasting)) == told(MemoryLedger())


def _at_once(work: object, count: int) -> None:
    threads = [threading.Thread(target=work, args=(f"job-{number}",)) for number in range(count)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

from __future__ import annotations

import socket
from typing import Any

import pytest
import redis

from tenantjobs.errors import LedgerUnavailable
from tenantjobs_redis.settings import RedisSettings
from tenantjobs_redis.store import LONGEST_NAME, Store
from tests.services import REDIS
from tests.tenantjobs_redis.conftest import NOBODY


def test_no_two_keys_lie_at_one_place() -> None:
    store = Store(RedisSettings(url=NOBODY))
    long = "x" * LONGEST_NAME
    keys = [("a", "b:c"), ("a:b", "c"), ("", "1:a:b:c"), ("", "b:c"), ("a", long), ("a", long + "y")]
    places = {store.place("key", *key) for key in keys}

    assert len(places | {store.place("lock", *key) for key in keys}) == 2 * len(keys)
    digest = store.place("key", "a", long).removeprefix("tenantjobs:key:")
    assert len(digest) > LONGEST_NAME, "a short key cannot be written so that it is that of a long one"


def test_a_redis_that_is_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and never answers
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        store = Store(RedisSettings(url=url, timeout=0.05))

        with pytest.raises(LedgerUnavailable, match="TimeoutError"), store.asked():
            store.redis.ping()
        store.redis.close()


@pytest.mark.services
def test_a_redis_that_forgets_when_it_is_full_is_a_problem(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    memory: dict[str, Any] = {}
    monkeypatch.setattr(store.redis, "info", lambda _section: memory)

    memory |= {"maxmemory": 100_000_000, "maxmemory_policy": "noeviction"}
    assert store.problems() == []
    memory["maxmemory_policy"] = "allkeys-lru"
    assert "maxmemory-policy is allkeys-lru" in store.problems()[0]
    memory["maxmemory"] = 0
    assert store.problems() == []


@pytest.mark.services
def test_a_connection_that_redis_has_closed_meanwhile_is_made_again(store: Store) -> None:
    """As by its restart, or by its ``timeout``."""
    store.redis.ping()
    with redis.Redis.from_url(REDIS) as other:
        ours = store.redis.client_id()
        other.client_kill_filter(_id=ours)

    with store.asked():
        assert store.redis.client_id() != ours

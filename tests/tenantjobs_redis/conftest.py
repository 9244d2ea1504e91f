from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tenantjobs_redis.settings import RedisSettings
from tenantjobs_redis.store import Store
from tests.services import REDIS, require

NOBODY = "redis://127.0.0.1:1/0"  # nothing listens there


@pytest.fixture
def settings() -> Iterator[RedisSettings]:
    """A prefix of its own in a real Redis, of which nothing is left."""
    require("Redis")
    settings = RedisSettings(url=REDIS, prefix=f"tj{uuid.uuid4().hex[:10]}:")
    yield settings
    store = Store(settings)
    for name in store.redis.scan_iter(f"{settings.prefix}*"):
        store.redis.delete(name)
    store.redis.close()


@pytest.fixture
def store(settings: RedisSettings) -> Iterator[Store]:
    store = Store(settings)
    yield store
    store.redis.close()

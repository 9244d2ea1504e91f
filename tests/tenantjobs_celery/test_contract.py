from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import redis

from tenantjobs_celery import CeleryAdapter
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tests.kit import ForkedContract
from tests.services import BROKERS, REDIS, require

APP = "tests.tenantjobs_celery.contract_app"


class CeleryContract(ForkedContract):
    adapter = "celery"
    survives_kill = True
    interrupts = True
    broker: ClassVar[str]
    pool: ClassVar[str] = "prefork"

    def environment(self) -> Mapping[str, str]:
        self.name = f"tj{uuid.uuid4().hex[:10]}"
        return {"CONTRACT_BROKER": BROKERS[self.broker], "CONTRACT_NAME": self.name}

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        ledger = {"url": f"sqlite:///{self.folder / 'ledger.db'}"}
        return {"celery": {"app": f"{APP}:app", "pool": self.pool}, "db": ledger}

    def prepare(self) -> None:
        require(self.broker)
        database = own(f"sqlite:///{self.folder / 'ledger.db'}")
        schema.upgrade(database.engine)
        database.close()
        sys.modules.pop(APP, None)  # the app of the test before had another name

    def clean(self) -> None:
        assert isinstance(self.configured, CeleryAdapter)
        app = self.configured.app
        if self.broker == "RabbitMQ":
            with app.connection_for_write() as connection:
                for queue in (self.queue, f"{self.queue}-other"):
                    connection.default_channel.queue_delete(queue)
        else:
            with redis.Redis.from_url(REDIS) as store:
                for key in store.scan_iter(f"{self.name}:*"):
                    store.delete(key)
        app.close()


@pytest.mark.services
class TestRabbitMQ(CeleryContract):
    broker = "RabbitMQ"


@pytest.mark.services
class TestRedis(CeleryContract):
    broker = "Redis"


@pytest.mark.services
@pytest.mark.skipif(
    "TENANTJOBS_EVERY_POOL" not in os.environ, reason="minutes for the same door: TENANTJOBS_EVERY_POOL=1"
)
class TestThreads(CeleryContract):
    broker = "RabbitMQ"
    pool = "threads"

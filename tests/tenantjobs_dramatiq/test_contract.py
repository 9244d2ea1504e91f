"""The kit that every adapter passes, on workers of Dramatiq."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from tenantjobs_db import schema
from tenantjobs_db.database import own
from tenantjobs_dramatiq import DramatiqAdapter
from tests.kit import ForkedContract
from tests.services import BROKERS, require
from tests.tenantjobs_dramatiq import servers

BROKER = "tests.tenantjobs_dramatiq.contract_broker"


class DramatiqContract(ForkedContract):
    adapter = "dramatiq"
    survives_kill = True
    interrupts = True
    broker: ClassVar[str]

    def environment(self) -> Mapping[str, str]:
        self.name = f"tj{uuid.uuid4().hex[:10]}"
        return {"CONTRACT_BROKER": BROKERS[self.broker], "CONTRACT_NAME": self.name}

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        ledger = {"url": f"sqlite:///{self.folder / 'ledger.db'}"}
        return {"dramatiq": {"broker": f"{BROKER}:broker", "prefix": f"{self.name}."}, "db": ledger}

    def prepare(self) -> None:
        require(self.broker)
        database = own(f"sqlite:///{self.folder / 'ledger.db'}")
        schema.upgrade(database.engine)
        database.close()
        sys.modules.pop(BROKER, None)  # the broker of the test before had another name

    def clean(self) -> None:
        assert isinstance(self.configured, DramatiqAdapter)
        self.configured.broker.close()
        servers.remove(self.name, *(f"{self.name}.{queue}" for queue in (self.queue, f"{self.queue}-other", "default")))


@pytest.mark.services
class TestRabbitMQ(DramatiqContract):
    broker = "RabbitMQ"


@pytest.mark.services
class TestRedis(DramatiqContract):
    broker = "Redis"

"""The kit that every adapter passes, on workers of RQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer

from tenantjobs import Current
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tests.kit import ForkedContract
from tests.services import require
from tests.tenantjobs_rq import blocking, servers

pytestmark = pytest.mark.services


class TestRq(ForkedContract):
    adapter = "rq"
    app = "tests.tenantjobs_rq.contract_app"
    gives_back = True
    interrupts = True

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            "rq": {"url": servers.REDIS, "prefix": f"{self.queue}."},
            "db": {"url": f"sqlite:///{self.folder / 'ledger.db'}"},
        }

    def prepare(self) -> None:
        require("Redis")
        database = own(f"sqlite:///{self.folder / 'ledger.db'}")
        schema.upgrade(database.engine)
        database.close()

    def clean(self) -> None:
        servers.remove(f"{self.queue}.")

    def failure(self, job_id: str) -> str | None:
        with redis.Redis.from_url(servers.REDIS) as connection:
            if not Job.exists(job_id, connection):
                return None
            job = Job.fetch(job_id, connection=connection, serializer=JSONSerializer)
            result = job.latest_result()
            return None if result is None else result.exc_string

    def test_a_job_that_waits_in_a_call_is_stopped_at_the_end_of_its_time(self) -> None:
        with Current.set(tenant_id="acme"):
            blocking.blocked.set(queue=self.queue).perform_later()

        self.start()

        assert [effect.attempt for effect in self.performed(2)] == [1, 2]

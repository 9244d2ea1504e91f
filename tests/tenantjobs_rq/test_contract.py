"""The kit that every adapter passes, on workers of RQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer

from tenantjobs.testing import AdapterContract
from tenantjobs_db import schema
from tenantjobs_db.database import own
from tests.tenantjobs_rq import servers

pytestmark = pytest.mark.services


class TestRq(AdapterContract):
    adapter = "rq"
    gives_back = True

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            "rq": {"url": servers.REDIS, "prefix": f"{self.queue}."},
            "db": {"url": f"sqlite:///{self.folder / 'ledger.db'}"},
        }

    def prepare(self) -> None:
        servers.require()
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

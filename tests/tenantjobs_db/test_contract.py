from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import own
from tests.kit import ForkedContract


class DatabaseContract(ForkedContract):
    adapter = "db"
    survives_kill = True
    gives_back = True
    interrupts = True
    url: str

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        return {"db": {"url": self.url, "lease": 3.0}}

    def prepare(self) -> None:
        database = own(self.url)
        schema.upgrade(database.engine)
        database.close()

    def failure(self, job_id: str) -> str | None:
        assert isinstance(self.configured, DatabaseAdapter)
        row = self.configured.queue.find(job_id)
        return str(row.failures) if row is not None and row.state == "failed" else None


class TestSqlite(DatabaseContract):
    @property
    def url(self) -> str:  # type: ignore[override]
        return f"sqlite:///{self.folder / 'queue.db'}"


@pytest.fixture(scope="class")
def server(request: pytest.FixtureRequest, postgres_url: str) -> None:
    request.cls.url = postgres_url


@pytest.mark.postgres
@pytest.mark.usefixtures("server")
class TestPostgres(DatabaseContract):
    """Each case has a queue of its own in one database."""


@pytest.fixture(scope="class")
def mariadb(request: pytest.FixtureRequest, mariadb_url: str) -> None:
    request.cls.url = mariadb_url


@pytest.mark.mariadb
@pytest.mark.usefixtures("mariadb")
class TestMariadb(DatabaseContract):
    """The same on MariaDB."""

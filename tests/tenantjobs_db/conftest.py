from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenantjobs import definition, testing
from tenantjobs.definition import Definition
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database, own
from tenantjobs_db.processes import Processes
from tenantjobs_db.queue import Queue
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.tables import (
    batch_jobs,
    batches,
    blocked,
    cancellations,
    closed,
    controls,
    failures,
    jobs,
    ledger,
    locks,
    outbox,
    permits,
    processes,
    progress,
    rates,
    recurring,
    results,
    serving,
    starts,
    ticks,
)
from tests.services import fresh_mariadb, fresh_postgres
from tests.tenantjobs_db.making import Claimer, claimed_without_owner

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
EMPTIED = (
    jobs,
    failures,
    processes,
    ledger,
    locks,
    outbox,
    permits,
    blocked,
    cancellations,
    closed,
    controls,
    rates,
    starts,
    serving,
    progress,
    results,
    batches,
    batch_jobs,
    recurring,
    ticks,
)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of this session, with the schema; each test finds its tables empty."""
    with fresh_postgres() as url:
        prepared = own(url)
        schema.upgrade(prepared.engine)
        prepared.close()
        yield url


@pytest.fixture(scope="session")
def bare_postgres_url() -> Iterator[str]:
    """A database of this session without any table."""
    with fresh_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """A database of this session, with the schema; each test finds its tables empty."""
    with fresh_mariadb() as url:
        prepared = own(url)
        schema.upgrade(prepared.engine)
        prepared.close()
        yield url


@pytest.fixture(scope="session")
def bare_mariadb_url() -> Iterator[str]:
    """A database of this session without any table."""
    with fresh_mariadb() as url:
        yield url


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a queue may live."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'queue.db'}"
    server = "postgres" if request.param == "postgresql" else request.param
    found: str = request.getfixturevalue(f"{server}_url")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An empty queue; afterwards, no row breaks the invariant of claims."""
    opened = own(url, synchronous="NORMAL")  # no power fails here
    if opened.embedded:
        schema.upgrade(opened.engine)
    else:
        with opened.begin() as connection:
            for table in EMPTIED:  # as text: it would be compiled anew for each engine
                connection.exec_driver_sql(f"DELETE FROM {table.name}")
    yield opened
    assert claimed_without_owner(opened) == 0
    opened.close()


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


@pytest.fixture
def claimer(database: Database) -> Claimer:
    """A process that claims from all queues."""
    return Claimer(database)


@pytest.fixture
def living(database: Database) -> Processes:
    return Processes(database, lease=60.0, max_deaths=3)


@pytest.fixture
def registry() -> Iterator[dict[str, Definition]]:
    """The registry of jobs; what a test adds to it is gone afterwards."""
    before = dict(definition.registry)
    yield definition.registry
    definition.registry.clear()
    definition.registry.update(before)


@pytest.fixture
def adapter(database: Database, url: str, registry: dict[str, Definition]) -> Iterator[DatabaseAdapter]:
    """The adapter ``db``, configured for jobs that need no tenant."""
    from tenantjobs import adapter as adapters

    with testing.override(adapter="db", tenancy="optional", db={"url": url, "synchronous": "NORMAL"}):
        configured = adapters.configured()
        assert isinstance(configured, DatabaseAdapter)
        yield configured


@pytest.fixture
def build(url: str) -> Iterator[Callable[..., DatabaseAdapter]]:
    """Adapters of the same database with other settings."""
    built: list[DatabaseAdapter] = []

    def build(**settings: object) -> DatabaseAdapter:
        built.append(DatabaseAdapter(DatabaseSettings(**({"url": url} | settings))))  # type: ignore[arg-type]  # as given
        return built[-1]

    yield build
    for adapter in built:
        adapter.close()

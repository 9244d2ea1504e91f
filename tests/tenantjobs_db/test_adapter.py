from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, StaticPool, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tenantjobs import adapter as adapters
from tenantjobs import testing
from tenantjobs.adapter import Cancels, Drains, HasLedger, JoinsTransaction, WorkOptions, Works
from tenantjobs.errors import ConfigurationError
from tenantjobs.idempotency import Ledger
from tenantjobs_db import schema
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.database import Database
from tests.services import asynchronous
from tests.tenantjobs_db.making import Claimer, envelope, envelopes


@pytest.fixture
def engine(database: Database, url: str) -> Iterator[Engine]:
    """The application's engine, on the database of the queue."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def joined(engine: Engine, build: Callable[..., DatabaseAdapter]) -> DatabaseAdapter:
    return build(url=None, engine=engine)


def test_it_does_all_that_a_queue_may_do(joined: DatabaseAdapter) -> None:
    protocols = (JoinsTransaction, Cancels, Drains, Works, HasLedger)

    assert [isinstance(joined, protocol) for protocol in protocols] == [True] * len(protocols)
    ledger: Ledger = joined.ledger
    assert ledger is joined.ledger


def test_it_is_found_by_its_name(database: Database, url: str) -> None:
    with testing.override(adapter="db", db={"url": url, "lease": 5}):
        found = adapters.configured()

    assert isinstance(found, DatabaseAdapter)
    assert found.settings.lease == 5.0


def test_it_joins_the_very_engine_and_no_other_of_the_same_url(
    joined: DatabaseAdapter, engine: Engine, url: str
) -> None:
    other = create_engine(url)

    with engine.connect() as connection:
        assert joined.joins(engine)
        assert joined.joins(connection)
        assert joined.joins(engine.execution_options(logging_token="x"))
        assert not joined.joins(other)
        assert not joined.joins(object())
    other.dispose()


def test_it_goes_on_joining_an_engine_that_was_disposed_of(joined: DatabaseAdapter, engine: Engine) -> None:
    engine.dispose()

    assert joined.joins(engine)


def test_it_joins_nothing_when_it_has_a_database_of_its_own(
    build: Callable[..., DatabaseAdapter], engine: Engine
) -> None:
    assert not build().joins(engine)


def test_jobs_commit_with_the_session_of_the_application(joined: DatabaseAdapter, engine: Engine) -> None:
    kept, lost = envelopes(3), envelopes(2)
    with Session(engine) as session:
        joined.enqueue_within(session.connection(), kept)
        session.commit()
        joined.enqueue_within(session.connection(), lost)
        session.rollback()

    assert joined.queue.counts() == {"ready": 3}


async def test_jobs_commit_with_an_async_session(
    database: Database, url: str, build: Callable[..., DatabaseAdapter]
) -> None:
    engine = create_async_engine(asynchronous(url))
    joined = build(url=None, engine=engine)
    assert joined.joins(engine)
    async with AsyncSession(engine) as session:
        connection = await session.connection()
        assert joined.joins(connection)

        await connection.run_sync(lambda sync: joined.enqueue_within(sync, envelopes(3)))
        await session.commit()

    assert joined.queue.counts() == {"ready": 3}
    await engine.dispose()


def test_the_engine_may_be_named(
    engine: Engine, build: Callable[..., DatabaseAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("shop_db")
    module.engine = engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_db", module)

    joined = build(url=None, engine="shop_db:engine")

    assert joined.joins(engine)
    assert joined.check() == []


@pytest.mark.parametrize(
    ("engine", "mistake"),
    [
        ("shop_db", "'module:name' is wanted"),
        ("no_such_module_here:engine", "cannot be imported"),
        ("sys:no_such_engine", "cannot be imported"),
        ("sqlalchemy.pool:StaticPol", "did you mean sqlalchemy.pool:StaticPool"),
        ("sys:path", "an Engine or AsyncEngine of SQLAlchemy is wanted"),
        (42, "an Engine or AsyncEngine of SQLAlchemy is wanted"),
    ],
)
def test_what_is_no_engine_is_refused(engine: object, mistake: str) -> None:
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(engine=engine))

    assert any(mistake in problem for problem in adapter.check())
    with pytest.raises(ConfigurationError, match=mistake):
        adapter.enqueue(envelope())


def test_without_a_database_it_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match="shop\\.db:engine"):
        DatabaseAdapter(DatabaseAdapter.Settings()).enqueue(envelope())


def test_a_database_that_does_not_answer_is_a_problem_to_report() -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    (problem,) = DatabaseAdapter(DatabaseAdapter.Settings(url=url)).check()

    assert "does not answer" in problem


@pytest.mark.parametrize(
    ("url", "mistake"),
    [
        ("nonsense with a s3cret", r"\[db\] url is no URL of a database"),
        ("postgres://user:s3cret@host/name", "sqlalchemy.dialects:postgres"),
        ("postgresql+psycopg://user:s3cret@host:port/name", r"\[db\] url is no URL of a database"),
        ("postgresql+nodriver://user:s3cret@host/name", "nodriver"),
        (
            "postgresql+pg8000://user:s3cret@host/name",
            r"No module named 'pg8000'; pip install 'tenantjobs\[postgres\]'",
        ),
        ("oracle+oracledb://user:s3cret@host/name", "No module named 'oracledb'; install oracledb"),
        ("sqlite:////no/such/folder/jobs.db", "does not answer: sqlite:////no/such/folder/jobs.db"),
        ("postgresql+psycopg://user:s3cret@127.0.0.1:1/name", "does not answer: postgresql"),
    ],
)
def test_a_url_that_does_not_lead_to_a_database_is_said_at_the_start_of_a_worker(url: str, mistake: str) -> None:
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(url=url))

    with pytest.raises(ConfigurationError, match=mistake) as raised:
        adapter.work(WorkOptions(drain=True))
    assert adapter.check() == [str(raised.value)]
    assert "s3cret" not in str(raised.value)


def test_what_is_wrong_with_a_url_is_said_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_DB_URL", "postgres://host/name")
    with testing.override(adapter="db"), pytest.raises(ConfigurationError, match=r"^TENANTJOBS_DB_URL is no URL"):
        adapters.configured().enqueue(envelope())


def test_the_application_keeps_its_own_ways(joined: DatabaseAdapter, engine: Engine) -> None:
    """Neither its transactions nor its settings are touched by those of the queue."""
    begun: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: begun.append(args[2]))
    joined.enqueue_all(envelopes(3))
    claimer = Claimer(joined.database)
    claimer.finish(claimer.claim(3))

    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        raw: Any = connection.connection.driver_connection

    assert begun == ["SELECT 1"]
    if engine.dialect.name == "sqlite":
        assert raw.isolation_level == ""  # the driver begins, as it always does


def test_the_journal_mode_of_the_applications_file_is_left_to_it(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    schema.upgrade(engine)
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(engine=engine))
    adapter.enqueue(envelope())

    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "delete"
    adapter.close()
    engine.dispose()


def test_a_database_of_the_queues_own_is_durable_and_readable_while_it_is_written(tmp_path: Path) -> None:
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(url=f"sqlite:///{tmp_path / 'own.db'}"))

    with adapter.database.begin() as connection:
        settings = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
    adapter.close()

    assert settings == ["wal", 2]


def test_connections_are_made_as_the_application_makes_them(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    made: list[object] = []

    def connect() -> sqlite3.Connection:
        made.append(file)
        return sqlite3.connect(file, check_same_thread=False)

    engine = create_engine(f"sqlite:///{tmp_path / 'never.db'}", creator=connect)
    schema.upgrade(engine)
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(engine=engine))

    adapter.enqueue(envelope())

    assert made
    assert not (tmp_path / "never.db").exists()
    adapter.close()
    engine.dispose()


def test_a_pool_that_is_exhausted_does_not_stop_the_queue(
    database: Database, url: str, build: Callable[..., DatabaseAdapter]
) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=1)
    joined = build(url=None, engine=engine)
    with engine.connect():
        joined.enqueue(envelope())

        assert joined.queue.counts() == {"ready": 1}
    engine.dispose()


def test_a_url_beside_the_engine_is_what_workers_connect_to(
    database: Database, url: str, build: Callable[..., DatabaseAdapter], engine: Engine
) -> None:
    joined = build(url=url, engine=engine)

    joined.enqueue(envelope())

    assert joined.joins(engine)
    assert joined.queue.counts() == {"ready": 1}


@pytest.mark.parametrize("in_memory", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
def test_memory_has_no_workers(in_memory: str) -> None:
    engine = create_engine(in_memory, poolclass=StaticPool)
    adapter = DatabaseAdapter(DatabaseAdapter.Settings(engine=engine))

    assert any("memory" in problem for problem in adapter.check())
    with pytest.raises(ConfigurationError, match="memory of one process"):
        adapter.work(WorkOptions())
    engine.dispose()


def test_a_cancelled_job_does_not_run(adapter: DatabaseAdapter) -> None:
    job = envelope()
    adapter.enqueue(job)

    assert adapter.cancel(job.id)
    assert adapter.drain() == 0


@pytest.mark.parametrize(
    ("keep", "keeps", "age"), [(True, True, None), (False, False, 0.0), (0, False, 0.0), (60.0, True, 60.0)]
)
def test_how_long_finished_jobs_are_kept(keep: float | bool, keeps: bool, age: float | None) -> None:
    settings = DatabaseAdapter.Settings(keep_finished=keep)

    assert (settings.keeps_finished, settings.forgotten_after) == (keeps, age)


def test_settings_come_from_the_environment_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTJOBS_DB_LEASE", "2.5")
    monkeypatch.setenv("TENANTJOBS_DB_KEEP_FINISHED", "false")
    with testing.override(adapter="db"):
        found = adapters.configured()

    assert isinstance(found, DatabaseAdapter)
    assert (found.settings.lease, found.settings.keeps_finished) == (2.5, False)


@pytest.mark.parametrize("wrong", [{"lease": 0}, {"max_deaths": -1}, {"keep_finished": -5.0}, {"busy_timeout": -1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with testing.override(adapter="db", db=wrong):
        with pytest.raises(ConfigurationError):
            adapters.configured()

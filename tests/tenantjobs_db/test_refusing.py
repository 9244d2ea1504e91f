"""A job that cannot be stored is an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, StaticPool, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import adapter, job, testing
from tenantjobs.errors import EnqueueError
from tenantjobs_db import schema, tables
from tests.tenantjobs_db.conftest import DATABASES

UPGRADE = "run `tenantjobs db upgrade`"


@job(name="tests.refusing.note", tenancy="none")
def note(value: Any) -> None: ...


@job(name="tests.refusing.urgent", tenancy="none", enqueue_after_commit=False)
def urgent(value: Any) -> None: ...


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """The application's database, without tables of ours."""
    is_file = request.param == "sqlite"
    engine = create_engine(
        f"sqlite:///{tmp_path / 'app.db'}" if is_file else request.getfixturevalue("bare_postgres_url")
    )
    tables.metadata.drop_all(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS notes"))
        connection.execute(text("CREATE TABLE notes (id INTEGER)"))
    yield engine
    engine.dispose()


@pytest.fixture
def maker(engine: Engine) -> Iterator[sessionmaker[Session]]:
    maker = sessionmaker(engine)
    tenantjobs_sqlalchemy.install(maker)
    yield maker
    tenantjobs_sqlalchemy.uninstall()


@pytest.fixture
def configured(engine: Engine) -> Iterator[None]:
    with testing.override(adapter="db", db={"engine": engine, "busy_timeout": 5.0}):
        yield


@pytest.mark.usefixtures("configured")
class TestWithoutTables:
    def test_at_the_call(self) -> None:
        with pytest.raises(EnqueueError, match=UPGRADE):
            note.perform_later(1)

    def test_in_the_transaction_just_before_its_commit(self, maker: sessionmaker[Session], engine: Engine) -> None:
        with pytest.raises(EnqueueError, match=UPGRADE), maker.begin() as session:
            session.execute(text("INSERT INTO notes VALUES (1)"))
            handle = note.perform_later(1)

        assert handle.enqueued is False

        with engine.connect() as connection:
            assert connection.execute(text("SELECT id FROM notes")).all() == []

    def test_those_of_an_older_release(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE tj_jobs (id TEXT)"))
        with pytest.raises(EnqueueError, match=UPGRADE):
            note.perform_later(1)

    def test_that_of_the_outbox(self, maker: sessionmaker[Session], engine: Engine) -> None:
        with testing.override(adapter="test", outbox=True):
            with pytest.raises(EnqueueError, match=UPGRADE), maker.begin():
                note.perform_later(1)

    def test_what_is_missing_of_the_application_is_its_own_affair(
        self, maker: sessionmaker[Session], engine: Engine
    ) -> None:
        schema.upgrade(engine)
        event.listen(maker, "before_commit", lambda session: session.execute(text("SELECT 1 FROM nowhere")))
        with pytest.raises(Exception, match="nowhere") as raised, maker.begin():
            note.perform_later(1)

        assert not isinstance(raised.value, EnqueueError)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
class TestOneWriter:
    """SQLite: a job that does not wait for the commit wants the file for itself."""

    @pytest.fixture(autouse=True)
    def tables(self, engine: Engine) -> None:
        schema.upgrade(engine)

    @pytest.mark.parametrize(
        "enqueue", [lambda: urgent.perform_later(1), lambda: urgent.aperform_later(1)], ids=["sync", "async"]
    )
    def test_a_transaction_that_wrote_is_an_error_at_once(
        self, maker: sessionmaker[Session], enqueue: Callable[[], object]
    ) -> None:
        with maker() as session:
            session.execute(text("INSERT INTO notes VALUES (1)"))
            with pytest.raises(EnqueueError, match=r"tests.refusing.urgent .* one writer at a time"):
                enqueue()
            session.rollback()

    def test_what_a_savepoint_took_back_holds_the_file_all_the_same(self, maker: sessionmaker[Session]) -> None:
        with maker() as session:
            session.execute(text("SELECT 1"))
            with session.begin_nested() as savepoint:
                session.execute(text("INSERT INTO notes VALUES (1)"))
                savepoint.rollback()
            with pytest.raises(EnqueueError, match="one writer at a time"):
                urgent.perform_later(1)

    def test_a_transaction_that_only_read_is_in_nobodys_way(self, maker: sessionmaker[Session]) -> None:
        with maker() as session:
            session.execute(text("SELECT 1"))

            assert urgent.perform_later(1).enqueued is True

    def test_one_on_another_database_is_not_either(self, tmp_path: Path) -> None:
        other = create_engine(f"sqlite:///{tmp_path}/other.db")
        elsewhere = sessionmaker(other)
        tenantjobs_sqlalchemy.install(elsewhere)
        with elsewhere() as session:
            session.execute(text("CREATE TABLE notes (id INTEGER)"))

            assert urgent.perform_later(1).enqueued is True
        tenantjobs_sqlalchemy.uninstall()
        other.dispose()

    def test_the_one_connection_of_a_database_in_memory_is_not_committed_on_the_way(self) -> None:
        engine = create_engine("sqlite://", poolclass=StaticPool)
        maker = sessionmaker(engine)
        tenantjobs_sqlalchemy.install(maker)
        schema.upgrade(engine)
        with testing.override(adapter="db", db={"engine": engine}), maker() as session:
            session.execute(text("SELECT 1"))
            with pytest.raises(EnqueueError, match="database in memory"):
                urgent.perform_later(1)
        tenantjobs_sqlalchemy.uninstall()
        engine.dispose()


def test_a_file_that_another_transaction_writes_for_too_long_says_who_may_be_in_the_way(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    with testing.override(adapter="db", db={"url": url, "busy_timeout": 0.01}):
        queue: Any = adapter.configured()
        queue.queue.counts()  # which makes the tables
        other = create_engine(url)
        with other.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(EnqueueError, match=r"longer than\s+\[db\] busy_timeout") as raised:
                note.perform_later(1)
        other.dispose()

    assert isinstance(raised.value.__cause__, OperationalError)

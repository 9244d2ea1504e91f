"""Transactions in two phases: prepared on every database, then committed on every database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, func, select, text
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import job, on_commit, testing
from tenantjobs.handle import Handle
from tenantjobs_db import schema
from tenantjobs_db.tables import jobs, outbox
from tests.cluster import server_with_two_phases
from tests.services import fresh_mariadb, fresh_postgres
from tests.tenantjobs_sqlalchemy.conftest import Account, Base, Order, Recording

Maker = sessionmaker[Session]
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)
SERVERS = [POSTGRES, pytest.param("mariadb", marks=pytest.mark.mariadb)]

DIES_PREPARED = """
import os, signal
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
import tenantjobs, tenantjobs_sqlalchemy
from tests.tenantjobs_sqlalchemy.conftest import Account, Order
from tests.tenantjobs_sqlalchemy.test_two_phases import note

one, other = (create_engine(url) for url in os.environ["ENGINES"].split())
tenantjobs.configure(adapter="db", db={"engine": one})
Session = sessionmaker(binds={Order: one, Account: other}, twophase=True)
tenantjobs_sqlalchemy.install(Session)
with Session() as session:
    session.add(Order(name="a"))
    if os.environ["DATABASES"] == "2":
        session.add(Account(name="a"))
    session.flush()
    note.perform_later(1)
    session.prepare()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@job(name="tests.two_phases.note", tenancy="none")
def note(value: Any) -> None: ...


@pytest.fixture(scope="session")
def postgres_pair() -> Iterator[tuple[str, str]]:
    with server_with_two_phases() as server, fresh_postgres(server) as one, fresh_postgres(server) as other:
        yield one, other


@pytest.fixture(scope="session")
def mariadb_pair() -> Iterator[tuple[str, str]]:
    with fresh_mariadb() as one, fresh_mariadb() as other:
        yield one, other


@pytest.fixture(params=SERVERS)
def engines(request: pytest.FixtureRequest) -> Iterator[list[Engine]]:
    """Two databases of the application, empty."""
    engines = [create_engine(url) for url in request.getfixturevalue(f"{request.param}_pair")]
    for engine in engines:
        Base.metadata.create_all(engine)
        if request.param == "postgres":
            schema.upgrade(engine)
        with engine.begin() as connection:
            for table in (Order, Account, *((jobs, outbox) if request.param == "postgres" else ())):
                connection.execute(delete(table))
    yield engines
    for engine in engines:
        engine.dispose()


@pytest.fixture(params=[1, 2])
def databases(request: pytest.FixtureRequest) -> int:
    """How many of them a transaction works on."""
    number: int = request.param
    return number


@pytest.fixture
def maker(engines: list[Engine]) -> Iterator[Maker]:
    maker = sessionmaker(binds={Order: engines[0], Account: engines[1]}, twophase=True)
    tenantjobs_sqlalchemy.install(maker)
    yield maker
    tenantjobs_sqlalchemy.uninstall()


only_postgres = pytest.mark.parametrize("engines", [POSTGRES], indirect=True)


def placed(session: Session, databases: int) -> Handle:
    """An order, a row of another database perhaps, and a job."""
    session.add(Order(name="a"))
    if databases == 2:
        session.add(Account(name="a"))
    session.flush()
    return note.perform_later(1)


def reasons(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it hides: SQLAlchemy before 2.0.51 hides the reason (its #13356)."""
    while error is not None:
        yield error
        error = error.__context__


def rows(engines: list[Engine]) -> int:
    return count(engines[0], Order) + count(engines[1], Account)


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


class TestQueueElsewhere:
    def test_a_job_leaves_with_the_second_phase(
        self, maker: Maker, engines: list[Engine], databases: int, elsewhere: Recording
    ) -> None:
        ran: list[int] = []
        with maker() as session:
            handle = placed(session, databases)
            on_commit(lambda: ran.append(1))
            session.prepare()

            assert (elsewhere.sent, handle.enqueued, ran) == ([], None, [])

            session.commit()

        assert (elsewhere.sent, handle.enqueued, ran, rows(engines)) == ([1], True, [1], databases)

    def test_a_commit_prepares_by_itself(
        self, maker: Maker, engines: list[Engine], databases: int, elsewhere: Recording
    ) -> None:
        with maker.begin() as session:
            placed(session, databases)

        assert (elsewhere.sent, rows(engines)) == ([1], databases)

    def test_a_rollback_after_the_first_phase_drops_it(
        self, maker: Maker, engines: list[Engine], databases: int, elsewhere: Recording
    ) -> None:
        with maker() as session:
            handle = placed(session, databases)
            session.prepare()
            session.rollback()

        assert (elsewhere.sent, handle.enqueued, rows(engines)) == ([], False, 0)

    def test_one_database_that_cannot_prepare_stops_all(
        self, maker: Maker, engines: list[Engine], elsewhere: Recording
    ) -> None:
        with maker() as session:
            handle = placed(session, 2)
            connection = session.connection(bind_arguments={"bind": engines[1]})
            end(engines[1], connection)
            with pytest.raises(Exception) as failed:
                session.prepare()
            session.rollback()

        assert any(re.search(r"(?i)connection|terminat|lost", str(reason)) for reason in reasons(failed.value))

        assert (elsewhere.sent, handle.enqueued, rows(engines)) == ([], False, 0)


@only_postgres
class TestQueueWithin:
    def test_a_job_is_prepared_with_the_rows_and_committed_with_them(
        self, maker: Maker, engines: list[Engine], databases: int
    ) -> None:
        with testing.override(adapter="db", db={"engine": engines[0]}), maker() as session:
            handle = placed(session, databases)
            session.prepare()

            assert (count(engines[0], jobs), handle.enqueued) == (0, None)

            session.commit()

        assert (count(engines[0], jobs), handle.enqueued, rows(engines)) == (1, True, databases)

    def test_a_rollback_after_the_first_phase_drops_it(
        self, maker: Maker, engines: list[Engine], databases: int
    ) -> None:
        with testing.override(adapter="db", db={"engine": engines[0]}), maker() as session:
            handle = placed(session, databases)
            session.prepare()
            session.rollback()

        assert (count(engines[0], jobs), handle.enqueued, rows(engines)) == (0, False, 0)

    def test_what_is_enqueued_between_the_phases_is_written_after_them(
        self, maker: Maker, engines: list[Engine], databases: int
    ) -> None:
        """The databases take no statement any more in a transaction that is prepared."""
        with testing.override(adapter="db", db={"engine": engines[0]}), maker() as session:
            placed(session, databases)
            session.prepare()
            late = note.perform_later(2)

            assert late.enqueued is None

            session.commit()

        assert (count(engines[0], jobs), late.enqueued) == (2, True)

    def test_the_outbox_is_prepared_with_the_rows_too(
        self, maker: Maker, engines: list[Engine], databases: int
    ) -> None:
        with testing.override(adapter="test", outbox=True, db={"engine": engines[0]}), maker() as session:
            handle = placed(session, databases)
            session.prepare()

            assert (count(engines[0], outbox), testing.enqueued_jobs()) == (0, [])

            session.commit()

            assert (count(engines[0], outbox), len(testing.enqueued_jobs())) == (0, 1)
            assert handle.enqueued is True

    @pytest.mark.parametrize(("decided", "there"), [("COMMIT PREPARED", 1), ("ROLLBACK PREPARED", 0)])
    def test_a_process_that_dies_between_the_phases_leaves_job_and_rows_to_one_decision(
        self, engines: list[Engine], databases: int, decided: str, there: int
    ) -> None:
        urls = " ".join(engine.url.render_as_string(hide_password=False) for engine in engines)
        environment = {**os.environ, "ENGINES": urls, "DATABASES": str(databases)}
        died = subprocess.run([sys.executable, "-c", DIES_PREPARED], env=environment, check=False)

        assert died.returncode == -signal.SIGKILL
        assert (count(engines[0], jobs), rows(engines)) == (0, 0)
        assert [len(prepared(engine)) for engine in engines] == [1, databases - 1]

        for engine in engines:
            for transaction in prepared(engine):
                with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.exec_driver_sql(f"{decided} '{transaction}'")

        assert (count(engines[0], jobs), rows(engines)) == (there, there * databases)


def end(engine: Engine, connection: Any) -> None:
    """The server ends the connection."""
    postgres = engine.dialect.name == "postgresql"
    process = connection.scalar(text("SELECT pg_backend_pid()" if postgres else "SELECT connection_id()"))
    with engine.connect() as other:
        other.exec_driver_sql(f"SELECT pg_terminate_backend({process}, 5000)" if postgres else f"KILL {process}")


def prepared(engine: Engine) -> list[str]:
    """The transactions of this database that wait for somebody's decision."""
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")))

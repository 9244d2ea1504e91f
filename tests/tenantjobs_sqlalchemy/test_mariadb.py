"""Application data on MariaDB: jobs leave after the commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs import job, testing
from tenantjobs.errors import EnqueueError
from tests.services import fresh_mariadb
from tests.tenantjobs_sqlalchemy.conftest import Base, Order, Recording

pytestmark = pytest.mark.mariadb

Maker = sessionmaker[Session]


@job(name="tests.mariadb.note", tenancy="none")
def note(value: Any) -> None: ...


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Engine]:
    with fresh_mariadb() as url:
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture
def engine(mariadb: Engine) -> Engine:
    with mariadb.begin() as connection:
        connection.execute(delete(Order))
    return mariadb


def names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.name)))


def test_a_job_leaves_with_the_commit_and_not_with_a_rollback(
    maker: Maker, engine: Engine, elsewhere: Recording
) -> None:
    with maker.begin() as session:
        session.add(Order(name="a"))
        note.perform_later(1)

        assert elsewhere.sent == []
    with pytest.raises(IntegrityError), maker.begin() as session:
        session.add(Order(name="a"))
        note.perform_later(2)
    with maker() as session:
        session.add(Order(name="b"))
        note.perform_later(3)
        session.rollback()

    assert (elsewhere.sent, names(engine)) == ([1], ["a"])


def test_autobegin_counts(maker: Maker, elsewhere: Recording) -> None:
    with maker() as session:
        session.scalars(select(Order)).all()
        read = note.perform_later(1)
    with maker() as session:
        session.execute(text("INSERT INTO orders (name) VALUES ('a')"))
        wrote = note.perform_later(2)

    assert (read.enqueued, wrote.enqueued, elsewhere.sent) == (True, False, [1])


def test_savepoints_count_three_deep(maker: Maker, elsewhere: Recording) -> None:
    with maker.begin() as session:
        with session.begin_nested():
            note.perform_later(1)
            with session.begin_nested():
                note.perform_later(2)
                with session.begin_nested() as third:
                    note.perform_later(3)
                    third.rollback()
        with session.begin_nested() as outer:
            session.begin_nested()
            note.perform_later(4)
            outer.rollback()

    assert elsewhere.sent == [1, 2]


def test_a_connection_of_core_is_followed(engine: Engine, elsewhere: Recording) -> None:
    with tenantjobs_sqlalchemy.begin(engine) as connection:
        note.perform_later(1)
        with connection.begin_nested() as savepoint:
            note.perform_later(2)
            savepoint.rollback()

        assert elsewhere.sent == []

    assert elsewhere.sent == [1]


def test_the_outbox_is_refused_where_its_tables_are_not(maker: Maker, engine: Engine) -> None:
    with testing.override(adapter="test", outbox=True, db={"engine": engine}), maker() as session:
        session.begin()
        note.perform_later(1)
        with pytest.raises(EnqueueError, match="tenantjobs db upgrade"):
            session.commit()

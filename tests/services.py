"""The servers that tests need: where they are, whether they are up, and what to do when they are not."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

POSTGRES = os.environ.get("TENANTJOBS_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("TENANTJOBS_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306")
AMQP = os.environ.get("TENANTJOBS_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/")
REDIS = os.environ.get("TENANTJOBS_TEST_REDIS", "redis://127.0.0.1:6379/0")
BROKERS = {"RabbitMQ": AMQP, "Redis": REDIS}
REQUIRED = os.environ.get("TENANTJOBS_REQUIRE_SERVICES") == "1"


def asynchronous(url: str) -> str:
    """``url`` with a driver for asyncio."""
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("mysql+pymysql:", "mysql+aiomysql:")


def missing(service: str, how: str) -> None:
    """Skip this test, loudly; fail it where services are required."""
    message = f"{service} is down: {how}"
    if REQUIRED:
        pytest.fail(message)
    pytest.skip(message)


def require(broker: str) -> None:
    """Skip this test, or fail it where services are required, if RabbitMQ, or Redis, cannot be reached."""
    variable, port = {"RabbitMQ": ("TENANTJOBS_TEST_AMQP", 5672), "Redis": ("TENANTJOBS_TEST_REDIS", 6379)}[broker]
    server = urlsplit(BROKERS[broker])
    try:
        socket.create_connection((server.hostname or "127.0.0.1", server.port or port), timeout=2).close()
    except OSError as error:
        missing(broker, f"start it, or say where it is in {variable} ({error})")


@contextmanager
def fresh_postgres(where: str | URL = POSTGRES, *, durable: bool = False) -> Iterator[str]:
    """A new database on the PostgreSQL server, or on another one. Unless ``durable``, a commit waits for no disk."""
    name = f"tj_test_{uuid.uuid4().hex[:12]}"
    server = create_engine(where, isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
            if not durable:
                connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    except OperationalError as error:
        server.dispose()
        missing("PostgreSQL", f"start it, or say where it is in TENANTJOBS_TEST_POSTGRES ({error.orig})")
    try:
        yield make_url(where).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        server.dispose()


def empty_postgres(url: str) -> None:
    """Drop what is in the database, whoever uses it: cheap, where a new database costs the server a checkpoint."""
    engine = create_engine(url)
    with engine.begin() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def empty_mariadb(url: str) -> None:
    """Drop what is in the database, whoever uses it."""
    engine = create_engine(url)
    with engine.begin() as connection:
        others = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        for number in connection.execute(text(others)).scalars().all():
            connection.execute(text(f"KILL {number}"))
        name = engine.url.database
        connection.execute(text(f"DROP DATABASE {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()


@contextmanager
def fresh_mariadb() -> Iterator[str]:
    """A new database on the MariaDB server."""
    name = f"tj_test_{uuid.uuid4().hex[:12]}"
    server = create_engine(MARIADB, isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        server.dispose()
        missing("MariaDB", f"start it, or say where it is in TENANTJOBS_TEST_MARIADB ({error.orig})")
    try:
        yield make_url(MARIADB).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        server.dispose()

"""Opening the database that the section ``[db]`` names; what is wrong with it is said with the place of the setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from tenantjobs import importing
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import schema
from tenantjobs_db.database import Database, beside, own
from tenantjobs_db.settings import DatabaseSettings

# The extra that brings the driver of a backend.
EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}

UNKNOWN = (
    "the adapter 'db' does not know its database: set url in the section [db] "
    '(url = "sqlite:///jobs.db"), or the engine of the application (engine = "shop.db:engine")'
)


def open_database(settings: DatabaseSettings, *, apart: bool = False) -> Database:
    """The database of the queue, on connections of our own; ``ConfigurationError`` if it cannot be had.

    ``apart``: it is the one at ``url``, and ``engine`` is that of another database, where the outbox is.
    """
    engine, url = None if apart else application_engine(settings), settings.url
    if engine is not None:
        with _readable(url):
            return beside(engine, url, **_options(settings))
    if url is None:
        raise ConfigurationError(UNKNOWN)
    with _readable(url):
        database = own(url, **_options(settings))
    if database.embedded:
        with answering(database, settings):
            schema.require(database)
    return database


def beside_application(settings: DatabaseSettings) -> Database:
    """The application's database, on connections of our own; ``engine`` is there."""
    engine = application_engine(settings)
    assert engine is not None, "nobody asks for it without an engine"
    return beside(engine, **_options(settings))


def dialect_name(settings: DatabaseSettings) -> str:
    """The kind of database that the settings name, told without connecting; ``ConfigurationError`` if they do not."""
    engine, url = application_engine(settings), settings.url
    if engine is not None:
        return engine.dialect.name
    if url is None:
        raise ConfigurationError(UNKNOWN)
    with _readable(url):
        return make_url(url).get_backend_name()


def application_engine(settings: DatabaseSettings) -> Engine | None:
    """The engine that ``[db] engine`` is or names; one for asyncio as what it is underneath."""
    engine = settings.engine
    if isinstance(engine, str):
        engine = importing.named("db", "engine", engine)
    engine = getattr(engine, "sync_engine", engine)
    if engine is not None and not isinstance(engine, Engine):
        raise ConfigurationError(
            f"{_place('engine')} = {settings.engine!r} is {type(engine).__name__}; an Engine or AsyncEngine of "
            f"SQLAlchemy is wanted"
        )
    return engine


@contextmanager
def answering(database: Database, settings: DatabaseSettings) -> Iterator[None]:
    """For the first words with ``database``: no answer is a ``ConfigurationError`` that says where it was looked for.

    Later on no answer is an outage, and a worker waits for its end.
    """
    try:
        yield
    except SQLAlchemyError as error:
        where = database.engine.url.render_as_string(hide_password=True)
        raise ConfigurationError(
            f"the database of the queue does not answer: {where}: {getattr(error, 'orig', None) or error}. "
            f"Is it running, and is {_place('engine' if settings.url is None else 'url')} right?"
        ) from error


def _options(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "synchronous": settings.synchronous,
        "busy_timeout": settings.busy_timeout,
        "notify": settings.notify,
    }


@contextmanager
def _readable(url: str | None) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(make_url(url).get_backend_name()) if url is not None else None
        hint = f"pip install 'tenantjobs[{extra}]'" if extra else f"install {error.name}"
        raise ConfigurationError(
            f"{_place('url')}: the driver of the database is not installed: {error}; {hint}"
        ) from error
    except (ArgumentError, ValueError) as error:
        # The text itself is not shown: it may have a password at a place where none is looked for. That of SQLAlchemy
        # 2.0.36 has it in the error.
        why = "it cannot be parsed" if url is not None and url in str(error) else error
        raise ConfigurationError(
            f'{_place("url")} is no URL of a database: {why}; it looks like "sqlite:///jobs.db" or '
            f'"postgresql+psycopg://user@host/name"'
        ) from error


def _place(key: str) -> str:
    return importing.place("db", key)

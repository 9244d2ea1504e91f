"""A database of the run's own: a file in its folder, or a schema on the server of TENANTJOBS_DB_URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateSchema, DropSchema

from examples.shop.demo.broken import Broken


@contextmanager
def database(given: str | None, folder: Path, *, keep: bool) -> Iterator[URL]:
    """Its address. What is there already is not touched, and the schema is dropped unless it is to be kept."""
    if given is None:
        yield URL.create("sqlite", database=str(folder / "shop.db"))
    elif (server := make_url(given)).get_backend_name() == "postgresql":
        with _schema(server, keep=keep) as url:
            yield url
    else:
        raise Broken(f"TENANTJOBS_DB_URL={server!r}: the demo knows PostgreSQL; for SQLite leave the variable out")


@contextmanager
def _schema(server: URL, *, keep: bool) -> Iterator[URL]:
    name = f"shop_demo_{uuid4().hex[:8]}"
    engine = create_engine(server)
    try:
        with engine.begin() as connection:
            connection.execute(CreateSchema(name))
    except OperationalError as error:
        raise Broken(f"TENANTJOBS_DB_URL={server!r}: {error.orig}") from error
    try:
        yield server.update_query_dict({"options": f"-csearch_path={name}"})
    finally:
        if not keep:
            with engine.begin() as connection:
                connection.execute(DropSchema(name, cascade=True))
        engine.dispose()

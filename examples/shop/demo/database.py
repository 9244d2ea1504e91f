"""A database of the run's own: a file in its folder, or one on the server of TENANTJOBS_DB_URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import msgspec
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError

import tenantjobs_db.schema
from examples.shop.demo.broken import Broken
from examples.shop.models import Base
from tenantjobs_sqlalchemy import rls


class Database(msgspec.Struct, frozen=True):
    """``owner`` made the tables. ``shop`` is what web application and workers connect to: on PostgreSQL as a role that
    sees, of the tables of tenants, the rows of one at a time.
    """

    owner: URL
    shop: URL

    @property
    def kind(self) -> str:
        return self.owner.get_backend_name()

    def engine(self) -> Engine:
        """The owner's engine. It is held by the policies as everyone is."""
        engine = create_engine(self.owner)
        if self.kind == "postgresql":
            rls.install(engine)
        return engine

    def create_tables(self, engine: Engine) -> None:
        """Those of the shop and those of its queue; ``ConfigurationError`` if the shop's role could see too much."""
        Base.metadata.create_all(engine)
        tenantjobs_db.schema.upgrade(engine)
        if self.kind == "postgresql":
            with engine.begin() as connection:
                for statement in [*rls.enable(Base), *grants(self.shop.username)]:
                    connection.exec_driver_sql(statement)
            shop = create_engine(self.shop)
            rls.verify(shop)
            shop.dispose()


def grants(role: str | None) -> list[str]:
    """All that the shop needs: it makes no tables, and empties none."""
    return [
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    ]


@contextmanager
def database(given: str | None, folder: Path, *, keep: bool) -> Iterator[Database]:
    """An empty one. What is on the server already is not touched, and database and role go unless they are kept."""
    if given is None:
        url = URL.create("sqlite", database=str(folder / "shop.db"))
        yield Database(url, url)
        return
    server, name = make_url(given), f"shop_demo_{token_hex(4)}"
    owner = server.set(database=name)
    if owner.get_backend_name() == "postgresql":
        password = token_hex(16)
        make = [f"CREATE DATABASE {name}", f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"]
        drop = [f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {name}"]
        shop = owner.set(username=name, password=password)
    elif owner.get_backend_name() in ("mysql", "mariadb"):
        make, drop, shop = [f"CREATE DATABASE {name}"], [f"DROP DATABASE {name}"], owner
    else:
        raise Broken(f"TENANTJOBS_DB_URL={server!r}: the demo knows PostgreSQL and MariaDB; leave it out for SQLite")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        _run(engine, *make)
    except DBAPIError as error:
        raise Broken(f"TENANTJOBS_DB_URL={server!r}: {error.orig}") from error
    try:
        yield Database(owner, shop)
    finally:
        if not keep:
            _run(engine, *drop)
        engine.dispose()


def _run(engine: Engine, *statements: str) -> None:
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)

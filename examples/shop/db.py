"""The database of the shop. Its queue lives in it too, so that a job commits with the rows that it is about."""

from __future__ import annotations

import os
from sqlite3 import Connection as SQLiteConnection

from sqlalchemy import create_engine, event
from sqlalchemy.orm import sessionmaker

import tenantjobs_sqlalchemy
from tenantjobs_sqlalchemy import rls

engine = create_engine(os.environ.get("SHOP_DATABASE_URL", "sqlite:///shop.db"), pool_size=20)

# A request reads first and writes at its commit: SQLite has one writer at a time, and the others wait.
Session = sessionmaker(engine, autoflush=False)

tenantjobs_sqlalchemy.install(Session)
if engine.dialect.name == "postgresql":
    rls.install(engine)


@event.listens_for(engine, "connect")
def prepare(connection: object, _record: object) -> None:
    """SQLite, unlike a server, has to be told to let readers read, writers wait and foreign keys count."""
    if isinstance(connection, SQLiteConnection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA foreign_keys = ON")

"""The schema of the queue: made and kept by numbered steps of our own, apart from the application's migrations.

In an Alembic revision: ``schema.upgrade(op.get_bind())``; in its ``env.py``, ``include_name=schema.include_name`` keeps
``--autogenerate`` away from our tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, Engine, func, inspect, select, text

from tenantjobs.errors import ConfigurationError
from tenantjobs_db.database import Database, beside
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.dialects import dialect_of
from tenantjobs_db.steps import STEPS
from tenantjobs_db.steps.books import BOOKS
from tenantjobs_db.steps.step import Step
from tenantjobs_db.steps.table import spelt
from tenantjobs_db.tables import schema

VERSION = STEPS[-1].version
PREFIX = "tj_"


class Status(msgspec.Struct, frozen=True):
    """What a database has, and what this release wants."""

    version: int
    wanted: int = VERSION

    @property
    def pending(self) -> tuple[Step, ...]:
        return tuple(step for step in STEPS if step.version > self.version)

    @property
    def problem(self) -> str | None:
        """Why a worker would refuse this database, and what to do; None if it would not."""
        if self.version == self.wanted:
            return None
        if self.version > self.wanted:
            return (
                f"the queue's schema has version {self.version}, and this release of tenantjobs knows {self.wanted}: "
                f"install the release that upgraded it, or a newer one"
            )
        found = f"has version {self.version}, older than {self.wanted}" if self.version else "is not there"
        return f"the queue's schema {found}: run `tenantjobs db upgrade`"


def upgrade(target: Engine | Connection) -> tuple[int, ...]:
    """Bring the schema to the version of this release; the steps that were taken, none if it was there.

    An engine gives a transaction of its own; on a connection, its owner commits. Concurrent upgraders wait for each
    other.
    """
    with _connection(target) as connection:
        dialect = dialect_of(connection.dialect.name)
        with dialect.upgrading(connection):
            for statement in BOOKS.statements(dialect.name):
                connection.execute(text(statement))
            found = status(connection)
            if found.version > found.wanted:
                raise ConfigurationError(found.problem)
            pending = found.pending
            for step in pending:
                for statement in step.statements(dialect.name):
                    connection.execute(text(statement))
                connection.execute(dialect.insert_new(schema).values(version=step.version, applied_at=dialect.now()))
    return tuple(step.version for step in pending)


def status(target: Engine | Connection) -> Status:
    """The version of the schema, 0 if there is none."""
    with _connection(target) as connection:
        if not inspect(connection).has_table(schema.name):
            return Status(0)
        return Status(connection.execute(select(func.coalesce(func.max(schema.c.version), 0))).scalar_one())


def require(database: Database) -> None:
    """Raise ConfigurationError unless the schema is the one that this release knows.

    A database of the queue's own, embedded in one application, is upgraded on the way.
    """
    with database.begin() as connection:
        found = status(connection)
        if database.embedded and found.pending and found.version < VERSION:
            upgrade(connection)
            found = status(connection)
    if found.problem is not None:
        raise ConfigurationError(found.problem)


def sql(dialect_name: str, *, since: int = 0) -> str:
    """The SQL that ``upgrade`` runs, from version ``since`` on, for those who apply it by other means."""
    dialect = dialect_of(dialect_name)
    return "".join(f"{statement.strip()};\n" for statement in _script(dialect, since))


def is_ours(table_name: str | None) -> bool:
    """Whether a table belongs to tenantjobs; the application's migrations leave those alone."""
    return table_name is not None and table_name.startswith(PREFIX)


def include_name(name: str | None, type_: str, _parent_names: Mapping[str, str | None]) -> bool:
    """For ``context.configure(include_name=...)`` of Alembic: everything but our tables."""
    return not (type_ == "table" and is_ours(name))


def _script(dialect: Dialect, since: int) -> Iterator[str]:
    yield from BOOKS.statements(dialect.name)
    for step in STEPS:
        if step.version > since:
            first, *others = step.statements(dialect.name)
            yield f"-- {step.version}: {step.summary}\n{first}"
            yield from others
            taken = f"INSERT INTO tj_schema (version, applied_at) VALUES ({step.version}, {{now}})"
            yield spelt(taken, dialect.name)


@contextmanager
def _connection(target: Engine | Connection) -> Iterator[Connection]:
    if isinstance(target, Connection):
        yield target
    else:
        own = beside(target)  # whose transactions keep others out, whatever those of the application do
        try:
            with own.begin() as connection:
                yield connection
        finally:
            own.close()

"""The tables whose rows belong to tenants, as a migration has to know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, MetaData, Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper

from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy.scoping import TenantScoped

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

# What the setting is cast to, by the type of the column. A VARCHAR(n) here would cut a longer id short, and make it
# another tenant's; a column of that type is compared as text.
_CASTS = {
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "UUID": "uuid",
    "VARCHAR": "text",
    "TEXT": "text",
    "CHAR": "bpchar",
}


@dataclass(frozen=True, slots=True)
class TenantTable:
    """A table, the column that says whose a row is, and the PostgreSQL type that a tenant's id is compared as.

    Written out, it keeps a migration what it was on the day it was written, whatever becomes of the models.
    """

    name: str
    column: str = "tenant_id"
    type: str = "text"
    schema: str | None = None

    @property
    def quoted(self) -> str:
        """The name of the table as SQL."""
        name = _DIALECT.identifier_preparer.quote(self.name)
        return name if self.schema is None else f"{_DIALECT.identifier_preparer.quote_schema(self.schema)}.{name}"

    @property
    def quoted_column(self) -> str:
        """The name of the column as SQL."""
        return _DIALECT.identifier_preparer.quote(self.column)

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


def tables(*sources: Any) -> list[TenantTable]:
    """The tables of all ``TenantScoped`` models in ``sources``, or of all that are imported if there are none.

    A source is a ``MetaData``, a declarative base or a model; a ``TenantTable`` is itself. ``ConfigurationError`` for a
    table that policies cannot be made for, and for a source without tenants' tables.
    """
    found, mistakes = find(*sources)
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))
    return found


def find(*sources: Any) -> tuple[list[TenantTable], list[str]]:
    """The same tables, and what is wrong with others."""
    found: dict[tuple[str | None, str], TenantTable] = {}
    mistakes: list[str] = []
    for source in sources or (None,):
        ours: list[TenantTable] = [source] if isinstance(source, TenantTable) else []
        for model, mapper, table in _mapped(source):
            try:
                ours.append(_described(model, mapper, table))
            except ConfigurationError as error:
                mistakes.append(str(error))
        if not ours and not mistakes and source is not None:
            mistakes.append(
                f"{source!r:.80} has no tables of tenants: give a MetaData, a base or a model with TenantScoped in it, "
                f'or a TenantTable("name")'
            )
        found.update({(table.schema, table.name): table for table in ours})
    return sorted(found.values(), key=str), mistakes


def _mapped(source: Any) -> Iterator[tuple[type, Mapper[Any], Table]]:
    if isinstance(source, TenantTable):
        return
    metadata = source if isinstance(source, MetaData) else getattr(source, "metadata", None)
    wanted: object = inspect(source, raiseerr=False) if isinstance(source, type) else None
    for model in _models(TenantScoped):
        mapper: Mapper[Any] = inspect(model)
        table = mapper.local_table
        if not isinstance(table, Table):
            continue
        if mapper is wanted or (wanted is None and (source is None or table.metadata is metadata)):
            yield model, mapper, table


def _models(base: type[Any]) -> Iterator[type[Any]]:
    for model in base.__subclasses__():
        if isinstance(inspect(model, raiseerr=False), Mapper):
            yield model
        yield from _models(model)


def _described(model: type, mapper: Mapper[Any], table: Table) -> TenantTable:
    column: Column[Any] = mapper.columns[getattr(model, "__tenant_column__", "tenant_id")]
    if column.table is not table:
        raise ConfigurationError(
            f"{model.__name__} has a table of its own, {table.name}, without the column {column.name}: no policy can "
            f"say whose its rows are. Give it the column, or map the class to the table of its base"
        )
    return TenantTable(table.name, column.name, _cast(column, model), table.schema)


def _cast(column: Column[Any], model: type) -> str:
    written = column.type.compile(_DIALECT).partition("(")[0]
    if written not in _CASTS or (written == "CHAR" and column.type.python_type is not str):
        raise ConfigurationError(
            f"{model.__name__}.{column.name} is of type {column.type!r}, which PostgreSQL keeps as {written}: a policy "
            f"can compare the tenant's id with integers, texts and native UUIDs"
        )
    return _CASTS[written]

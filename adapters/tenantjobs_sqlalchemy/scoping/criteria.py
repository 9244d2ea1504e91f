"""The criteria of the tenant for the tables that a statement reads beside those that the ORM takes care of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Alias, ColumnElement, FromClause, Join, Select, Table, exists, literal, select

from tenantjobs_sqlalchemy.scoping import columns
from tenantjobs_sqlalchemy.scoping.columns import TenantValue


def of_select(select: Any, but: FromClause | None = None) -> list[ColumnElement[bool]]:
    """Those of all tables that it reads from, save one."""
    return _of(select.get_final_froms(), but)


def only_in_where(statement: Select[Any]) -> list[ColumnElement[bool]]:
    """Those of the tables that only WHERE names, which the criteria of the ORM do not reach up to SQLAlchemy 2.0."""
    if not statement._where_criteria:
        return []
    known = statement.columns_clause_froms
    named = select(literal(1)).where(*statement._where_criteria).get_final_froms()
    others = [source for source in named if source not in known]
    if not others:
        return []
    # Those that are joined are in a join there, which has its criteria.
    return _of([source for source in statement.get_final_froms() if source in others])


def beside(statement: Any) -> list[ColumnElement[bool]]:
    """Those of the other tables of an UPDATE ... FROM or a DELETE ... USING."""
    written = getattr(statement, "_values", None) or dict(getattr(statement, "_ordered_values", None) or ())
    values = [value for value in written.values() if isinstance(value, ColumnElement)]
    if not statement._where_criteria and not values:
        return []
    return of_select(select(literal(1), *values).where(*statement._where_criteria), but=statement.table)


def of_table(table: FromClause) -> ColumnElement[bool] | None:
    """That of one table; None if its rows are nobody's."""
    column = columns.tenant_column(table.element if isinstance(table, Alias) else table)
    if column is not None:
        return columns.is_of_tenant(table, column)
    mapper = columns.part_of(table)
    if mapper is None:
        return None
    # A row of a subclass's own table belongs to whom its row in the table of the base belongs.
    owner = columns.owner_of_part(mapper)
    value = TenantValue(owner, columns.tenant_value(owner).name, stands_for=table)  # type: ignore[arg-type]
    return exists().where(*columns.links_of_part(mapper), owner == columns.bind(value)).correlate(table)


def _of(sources: Iterable[FromClause], but: FromClause | None = None) -> list[ColumnElement[bool]]:
    tables = [table for source in sources for table in _tables(source) if table != but]
    return [criterion for table in tables if (criterion := of_table(table)) is not None]


def _tables(source: FromClause) -> Iterator[FromClause]:
    """The tables that a FROM is made of, save those whose rows may be missing in an outer join."""
    if isinstance(source, Join):
        if not source.full:
            yield from _tables(source.left)
            if not source.isouter:
                yield from _tables(source.right)
    elif isinstance(source, Table) or (isinstance(source, Alias) and isinstance(source.element, Table)):
        yield source

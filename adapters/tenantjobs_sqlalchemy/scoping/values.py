"""The values that a statement writes into the column of the tenant."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Select, Table

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import columns, refusals, writes
from tenantjobs_sqlalchemy.scoping.refusals import Unproved


def check(table: Table, names: tuple[str | None, ...], context: Any) -> None:
    """``WrongTenant`` if the statement gives a row to another tenant, or does not show to whom.

    ``names`` are those of the values for the column of the tenant (``writes.names_of``).
    """
    column = columns.tenant_column(table)
    if column is None:
        return
    key, all_parameters = column.key, context.compiled_parameters
    if names == (key,) and getattr(context.compiled.statement, "_post_values_clause", None) is None:
        # As in nearly every flush.
        if context.isupdate and key not in all_parameters[0]:  # they all have the same names
            return
        own = columns.tenant_value(column)()
        if [parameters.get(key) for parameters in all_parameters].count(own) == len(all_parameters):
            return
    given = [value for (value,) in writes.rows([(key, names)], context)]
    if context.isinsert and len(given) < len(names) * len(all_parameters):
        raise Unproved(_not_shown(column, "an INSERT"))
    for value in given:
        if value is not writes.EXPRESSION:
            _require_own(column, value)
        elif not _is_selected_from_own(column, context):
            raise Unproved(_not_shown(column, "an INSERT" if context.isinsert else "an UPDATE"))


def _is_selected_from_own(column: Column[Any], context: Any) -> bool:
    """Whether the tenant comes from rows of the tenant, which the SELECT of an INSERT has been proved to keep to."""
    statement: Any = writes.dml_of(context.compiled.statement)
    if not context.isinsert or not isinstance(statement.select, Select) or column.key not in statement._select_names:
        return False
    chosen = list(statement.select.selected_columns)[statement._select_names.index(column.key)]
    table = getattr(chosen, "table", None)
    owner = None if table is None else columns.tenant_column(getattr(table, "element", table))
    return owner is not None and owner.key == chosen.key


def _require_own(column: Column[Any], value: object) -> None:
    if not columns.tenant_value(column).is_own(value):
        tenant_id = in_force().reach.tenant_id
        assert tenant_id is not None
        raise refusals.foreign(f"row of {column.table.name}", value, "written", tenant_id)


def _not_shown(column: Column[Any], what: str) -> str:
    return (
        f"{what} gives {column.table.name}.{column.name} a value that is not known before it is executed: leave it "
        f"out, or give the id of the tenant itself"
    )

"""The values that a statement writes into the column of the tenant."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import BindParameter, Column, Select, Table

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import columns, refusals
from tenantjobs_sqlalchemy.scoping.refusals import Unproved


def check(table: Table, context: Any) -> None:
    """``WrongTenant`` if the statement gives a row to another tenant, or does not show to whom."""
    column = columns.tenant_column(table)
    if column is None:
        return
    if context.isinsert:
        _check_insert(column, context)
    else:
        _check_update(column, context)


def _check_insert(column: Column[Any], context: Any) -> None:
    statement = context.compiled.statement
    if statement.select is not None and column.key in statement._select_names:
        _check_selected(column, statement)
        return
    rows = len(statement._multi_values[0]) if statement._multi_values else 1
    own, key = columns.tenant_value(column)(), column.key
    written = [parameters.get(key) for parameters in context.compiled_parameters]
    if rows == 1 and written.count(own) == len(written):
        return  # as in nearly every flush
    for parameters in context.compiled_parameters:
        given = _given(column.key, parameters, several=rows > 1)
        if len(given) != rows:
            raise Unproved(_not_shown(column, "an INSERT"))
        for value in given:
            _require_own(column, value)


def _check_update(column: Column[Any], context: Any) -> None:
    statement = context.compiled.statement
    sets = {**(statement._values or {}), **dict(getattr(statement, "_ordered_values", None) or ())}
    for key, value in sets.items():
        if getattr(key, "key", key) == column.key and not isinstance(value, BindParameter):
            raise Unproved(_not_shown(column, "an UPDATE"))
    if column.key in context.compiled_parameters[0]:  # they all have the same names
        for parameters in context.compiled_parameters:
            _require_own(column, parameters[column.key])


def _given(key: str, parameters: dict[str, Any], *, several: bool) -> list[Any]:
    if not several:
        return [parameters[key]] if key in parameters else []
    row = re.compile(re.escape(key) + r"(_m\d+)?")
    return [value for name, value in parameters.items() if row.fullmatch(name)]


def _check_selected(column: Column[Any], statement: Any) -> None:
    """The tenant is selected from rows of the tenant, which the SELECT has been proved to keep to."""
    select = statement.select
    chosen = None
    if isinstance(select, Select):
        chosen = list(select.selected_columns)[statement._select_names.index(column.key)]
        if isinstance(chosen, BindParameter):
            _require_own(column, chosen.effective_value)
            return
    table = getattr(chosen, "table", None)
    owner = None if table is None else columns.tenant_column(getattr(table, "element", table))
    if owner is None or chosen is None or owner.key != chosen.key:
        raise Unproved(_not_shown(column, "an INSERT"))


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

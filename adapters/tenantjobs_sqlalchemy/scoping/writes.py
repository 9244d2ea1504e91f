"""What a statement writes into columns, as far as it shows before it is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, Column, Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

#: A value that the database makes.
EXPRESSION = object()


def dml_of(statement: Any) -> UpdateBase | None:
    """The INSERT, UPDATE or DELETE that this is, or whose rows ``select(Model).from_statement(...)`` returns."""
    inner = statement.element if getattr(statement, "is_from_statement", False) else statement
    return inner if isinstance(inner, UpdateBase) else None


def names_of(key: str, compiled: SQLCompiler) -> tuple[str | None, ...]:
    """By which name the parameters of the statement have the value for a column, in each of its rows.

    None for a value that the database makes. A column that is left alone has a name that no parameters have.
    """
    state: Any = compiled.dml_compile_state
    if state.isinsert and state.statement.select is not None and key in state.statement._select_names:
        return (_name_of_selected(key, compiled),)
    elif getattr(state, "_has_multi_parameters", False):
        first, *others = state._multi_parameters
        is_given = any(getattr(column, "key", column) == key for column in first)  # else it is a default
        names = [_name(first, key, f"{key}_m0" if is_given else key)]
        return (*names, *(_name(row, key, f"{key}_m{number}") for number, row in enumerate(others, 1)))
    else:
        return (_name(state._dict_parameters or {}, key, key),)


def rows(columns: list[tuple[str, tuple[str | None, ...]]], context: Any) -> Iterator[tuple[Any, ...]]:
    """The values for some columns, for each row in which the statement writes any of them; ``columns`` are their keys
    and names. What an upsert writes into rows that are there already is a row of its own.
    """
    statement = dml_of(context.invoked_statement)
    set_by_upsert = dict(getattr(getattr(statement, "_post_values_clause", None), "update_values_to_set", None) or ())
    names_of_rows = list(zip(*(names for _, names in columns), strict=True))
    for parameters in context.compiled_parameters:
        for names in names_of_rows:
            if any(name is None or name in parameters for name in names):
                yield tuple(EXPRESSION if name is None else parameters.get(name) for name in names)
        if set_by_upsert:
            upserted = _upserted(set_by_upsert, parameters)
            if any(key in upserted for key, _ in columns):
                yield tuple(upserted.get(key) for key, _ in columns)


def _name(given: Mapping[Any, Any], key: str, usual: str) -> str | None:
    for column, value in given.items():
        if getattr(column, "key", column) == key:
            if isinstance(value, BindParameter):
                return usual if value.unique else value.key
            return None if isinstance(value, ClauseElement) else usual
    return usual


def _name_of_selected(key: str, compiled: SQLCompiler) -> str | None:
    statement: Any = compiled.dml_compile_state.statement  # type: ignore[union-attr]  # of an INSERT
    select = statement.select
    if isinstance(select, Select):
        chosen = list(select.selected_columns)[statement._select_names.index(key)]
        if isinstance(chosen, BindParameter):
            return compiled.bind_names.get(chosen)
    return None


def _upserted(given: Mapping[Any, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What ON CONFLICT DO UPDATE sets, save what it takes as it would have been inserted."""
    found = {}
    for column, value in given.items():
        key = getattr(column, "key", column)
        if isinstance(value, BindParameter):
            found[key] = parameters.get(value.key, value.value)
        elif not isinstance(value, ClauseElement):
            found[key] = value
        elif not (isinstance(value, Column) and value.key == key and value.table.name == "excluded"):
            found[key] = EXPRESSION
    return found

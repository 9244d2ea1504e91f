"""Rows that were written by their keys, one by one, and were not there to be written: they may be another tenant's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, FromClause, Index, Table, select, tuple_
from sqlalchemy.sql.dml import Insert, UpdateBase
from sqlalchemy.sql.schema import ColumnCollectionConstraint

from tenantjobs.current import Current
from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import columns, conditions, narrowing, refusals, writes
from tenantjobs_sqlalchemy.scoping.columns import TenantParameter
from tenantjobs_sqlalchemy.scoping.refusals import ForeignRow, Unproved

_AT_ONCE = 500


def check(connection: Connection, statement: UpdateBase, many: Any, result: Any) -> None:
    """``WrongTenant`` if rows were left out because they are another tenant's.

    A statement with parameters means the rows that these name; one without them means those that there are.
    """
    is_counted = result.rowcount >= 0 and (not result.returns_rows or connection.dialect.name == "postgresql")
    if isinstance(statement, Insert):
        if _is_upsert_of_own(statement):
            _check_upsert(connection, statement, many, result, is_counted=is_counted)
    elif not is_counted or result.rowcount < len(many):
        meant = narrowing.meant_by(statement)
        if meant is not None and many:
            _require_own(statement, _owners_of_meant(connection, statement.table, meant, many))


def _is_upsert_of_own(statement: Any) -> bool:
    # With a condition of its own it may leave out any row.
    bound = getattr(getattr(statement._post_values_clause, "update_whereclause", None), "right", None)
    return isinstance(bound, TenantParameter) and statement.select is None


def _check_upsert(connection: Connection, statement: Any, many: Any, result: Any, *, is_counted: bool) -> None:
    rows = len(statement._multi_values[0]) if statement._multi_values else max(len(many), 1)
    if not is_counted:
        _require_own(statement, _owners_of_met(connection, statement, result.context))
    elif result.rowcount < rows:
        raise ForeignRow(
            f"an upsert into {statement.table.name} met {rows - result.rowcount} of {rows} rows that are not of tenant "
            f"{in_force().reach.tenant_id}, and left them as they are: their keys are taken"
        )


def _owners_of_met(connection: Connection, statement: Any, context: Any) -> Iterator[Any]:
    """Whose the rows are that an upsert has met, where the driver does not count those that it wrote."""
    unique = _unique_columns(statement.table, statement._post_values_clause)
    keys = writes.rows([(each.key, writes.names_of(each.key, context.compiled)) for each in unique], context)
    wanted = [key for key in keys if None not in key]
    if not unique or writes.EXPRESSION in (value for key in wanted for value in key):
        raise Unproved(
            f"an upsert into {statement.table.name} does not show which rows it may meet, and the driver does not "
            f"count them: give values for its index_elements, or do it under Current.system(...)"
        )
    return _owners(connection, columns.owner_column(statement.table), [], unique, wanted)


def _unique_columns(table: Table, clause: Any) -> list[Column[Any]]:
    """What must not be twice there for the upsert to meet a row; none if it does not say."""
    name = getattr(clause, "constraint_target", None)
    if name is not None:
        unique: Iterable[Any] = (*table.constraints, *table.indexes)
        for found in unique:
            if found.name == name and isinstance(found, ColumnCollectionConstraint | Index):
                return list(found.columns)
    named = {column.name: column for column in table.c}
    elements = [getattr(element, "name", element) for element in clause.inferred_target_elements or ()]
    return [named[element] for element in elements] if all(element in named for element in elements) else []


def _owners_of_meant(connection: Connection, table: FromClause, meant: Any, many: Any) -> Iterator[Any]:
    column, mapper = columns.owner_column(table), columns.part_of(table)
    links = [] if mapper is None else columns.links_of_part(mapper)
    key = conditions.key_of(meant)
    if key is not None:
        wanted = [tuple(parameters[name] for _, name in key) for parameters in many]
        yield from _owners(connection, column, links, [each for each, _ in key], wanted)
    else:
        for parameters in many:
            yield from _found(connection, select(column).where(*meant, *links), parameters)


def _owners(connection: Connection, column: Any, links: Any, key: Any, wanted: list[tuple[Any, ...]]) -> Iterator[Any]:
    """Whose the rows with these keys are."""
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        is_wanted = key[0].in_([value for (value,) in some]) if len(key) == 1 else tuple_(*key).in_(some)
        yield from _found(connection, select(column).where(is_wanted, *links))


def _found(connection: Connection, statement: Any, parameters: Any = None) -> Sequence[Any]:
    with Current.system("whose rows are they"):
        return connection.scalars(statement.distinct(), parameters).all()


def _require_own(statement: Any, owners: Iterator[Any]) -> None:
    value = columns.tenant_value(columns.owner_column(statement.table))
    for owner in owners:
        if not value.is_own(owner):
            tenant_id = in_force().reach.tenant_id
            assert tenant_id is not None
            raise refusals.foreign(f"row of {statement.table.name}", owner, "written", tenant_id)

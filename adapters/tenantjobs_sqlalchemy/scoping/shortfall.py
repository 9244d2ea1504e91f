"""Rows that were written by their keys, one by one, and were not there to be written: they may be another tenant's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, Connection, FromClause, select
from sqlalchemy.sql.dml import Insert, UpdateBase

from tenantjobs.current import Current
from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import columns, narrowing, refusals
from tenantjobs_sqlalchemy.scoping.columns import TenantValue
from tenantjobs_sqlalchemy.scoping.refusals import ForeignRow


def check(connection: Connection, statement: UpdateBase, many: Any, result: Any) -> None:
    """``WrongTenant`` if rows were left out because they are another tenant's.

    A statement with parameters means the rows that these name; one without them means those that there are.
    """
    if result.rowcount < 0 or (result.returns_rows and connection.dialect.name != "postgresql"):
        return  # not counted: whatever is foreign was left out in silence
    elif isinstance(statement, Insert):
        _check_upsert(statement, many, result.rowcount)
    elif result.rowcount < len(many) and (meant := narrowing.meant_by(statement)) is not None:
        _look_up(connection, statement, meant, many)


def _check_upsert(statement: Any, many: Any, written: int) -> None:
    clause = statement._post_values_clause
    narrow = getattr(clause, "update_whereclause", None)
    rows = len(statement._multi_values[0]) if statement._multi_values else max(len(many), 1)
    # With a condition of its own it may leave out any row.
    if narrow is not None and _is_criterion(narrow) and statement.select is None and written < rows:
        raise ForeignRow(
            f"an upsert into {statement.table.name} met {rows - written} of {rows} rows that are not of tenant "
            f"{in_force().reach.tenant_id}, and left them as they are: their keys are taken"
        )


def _look_up(connection: Connection, statement: Any, meant: Any, many: Any) -> None:
    table: FromClause = statement.table
    column, links = columns.tenant_column(table), []
    if column is None:
        mapper = columns.part_of(table)
        if mapper is None:
            return
        column, links = columns.owner_of_part(mapper), columns.links_of_part(mapper)
    for parameters in many:
        with Current.system("whose rows are they"):
            owners = connection.scalars(select(column).where(*meant, *links).distinct(), parameters).all()
        for owner in owners:
            if not columns.tenant_value(column).is_own(owner):
                tenant_id = in_force().reach.tenant_id
                assert tenant_id is not None
                raise refusals.foreign(f"row of {statement.table.name}", owner, "written", tenant_id)


def _is_criterion(element: Any) -> bool:
    bound = getattr(element, "right", None)
    return isinstance(bound, BindParameter) and isinstance(bound.callable, TenantValue)

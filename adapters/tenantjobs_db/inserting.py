"""Any number of rows by one statement of one text, where arrays are parameters: a column is an array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import TableValuedAlias, bindparam, column, func
from sqlalchemy.types import TypeEngine

from tenantjobs_db.arrays import Array

CHUNK = 10_000  # rows of one statement; what an array of parameters may take in memory

Columns = Mapping[str, TypeEngine[Any]]


def incoming(columns: Columns) -> TableValuedAlias:
    """The rows of the statement, to select from."""
    return (
        func.unnest(*(bindparam(name, type_=Array(kind)) for name, kind in columns.items()))
        .table_valued(*(column(name, kind) for name, kind in columns.items()))
        .render_derived("incoming")
    )


def as_arrays(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> dict[str, list[Any]]:
    """The parameters of such a statement."""
    return {name: [row[name] for row in rows] for name in columns}

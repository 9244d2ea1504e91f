"""The conditions of a statement, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import BindParameter, Column
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, Grouping


def terms(condition: Any) -> Iterator[Any]:
    """The conditions that must all hold."""
    if isinstance(condition, Grouping):
        yield from terms(condition.element)
    elif isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        for each in condition.clauses:
            yield from terms(each)
    else:
        yield condition


def key_of(conditions: tuple[Any, ...]) -> list[tuple[Column[Any], str]] | None:
    """The columns that have to equal parameters, with the names of these; None if anything else is asked for."""
    found = []
    for term in (term for condition in conditions for term in terms(condition)):
        is_equal = isinstance(term, BinaryExpression) and term.operator is operators.eq
        if not (is_equal and isinstance(term.left, Column) and isinstance(term.right, BindParameter)):
            return None
        found.append((term.left, term.right.key))
    return found

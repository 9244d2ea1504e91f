"""The tenant, added to what the criteria of the ORM do not reach: rows by key, bulk writes, Core tables, upserts."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    ColumnElement,
    Delete,
    Executable,
    Select,
    Update,
    and_,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import Insert, UpdateBase

from tenantjobs_sqlalchemy.scoping import columns, criteria, reads, writes
from tenantjobs_sqlalchemy.scoping.refusals import Unproved


def narrowed(statement: Executable) -> Executable:
    """The same statement, for rows of the tenant in force; unchanged where the criteria of the ORM do it."""
    narrow: Executable
    if isinstance(statement, UpdateBase):
        return _narrowed_once(statement)
    elif (dml := writes.dml_of(statement)) is not None:
        narrow = _with_element(statement, _narrowed_once(dml))
        return narrow
    elif reads.passes(statement):
        return statement
    else:
        narrow = _with_narrow_selects(statement)
        return narrow


def meant_by(statement: UpdateBase) -> tuple[ColumnElement[bool], ...] | None:
    """The conditions of an UPDATE or DELETE as they were before the tenant was added here; None if it was not."""
    return _by_us.get(statement)


def _with_element(statement: Any, element: Any) -> Any:
    if element is statement.element:
        return statement
    copy = statement._generate()
    copy.element = element
    return copy


def _narrowed_once(statement: UpdateBase) -> Executable:
    if _is_plain(statement):
        return statement
    # A flush has a few statements for each model, which it executes over and over.
    if statement not in _known:
        narrow = _narrowed_write(statement)
        _known[statement] = None if narrow is statement else narrow  # itself would keep itself alive
    known = _known[statement]
    return statement if known is None else known


def _is_plain(statement: Any) -> bool:
    """Whether this is an INSERT of values and nothing else. A flush makes it anew where the database makes the keys."""
    return isinstance(statement, Insert) and not (
        statement._values
        or statement._multi_values
        or statement.select is not None
        or statement._post_values_clause is not None
        or statement._returning
        or statement._supplemental_returning
        or statement._independent_ctes
        or statement._with_options
    )


def _narrowed_write(statement: UpdateBase) -> Any:
    narrow = _with_narrow_selects(statement)
    if isinstance(narrow, Insert):
        return _upsert_of_own(narrow)
    assert isinstance(narrow, Update | Delete)
    meant = narrow._where_criteria
    beside = criteria.beside(narrow)
    if beside:
        narrow = narrow.where(*beside)
    criterion = None if reads.is_filtered(statement) else criteria.of_table(narrow.table)
    if criterion is not None:
        narrow = narrow.where(criterion)
        _by_us[narrow] = meant
    return narrow


def _upsert_of_own(statement: Any) -> Any:
    """An upsert changes rows of the tenant only."""
    column = columns.tenant_column(statement.table)
    clause: Any = statement._post_values_clause
    if column is None or clause is None or not hasattr(clause, "update_values_to_set"):
        return statement
    own = columns.is_of_tenant(statement.table, column)
    narrow = clause._clone()
    before = clause.update_whereclause
    narrow.update_whereclause = own if before is None else and_(before, own)
    copy = statement._generate()
    copy._post_values_clause = narrow
    return copy


def _with_narrow_selects(statement: Any) -> Any:
    """The statement with the tenant in each of its SELECTs; if the ORM filters the statement, in those inside of it."""
    if not reads.is_filtered(statement):
        return _narrow_selects(statement)
    copy = None
    for name, kind in (("_where_criteria", tuple), ("_raw_columns", list)):
        before = getattr(statement, name, ())
        narrow = kind(_narrow_selects(element) if isinstance(element, ColumnElement) else element for element in before)
        if any(new is not old for new, old in zip(narrow, before, strict=True)):
            copy = statement._generate() if copy is None else copy
            setattr(copy, name, narrow)
    found = statement if copy is None else copy
    beside = criteria.only_in_where(found) if isinstance(found, Select) else []
    return found.where(*beside) if beside else found


def _narrow_selects(element: Any) -> Any:
    parts = [part for part in visitors.iterate(element) if isinstance(part, Select)]
    if not any(criteria.of_select(part) for part in parts):
        return element
    copies: list[Select[Any]] = []
    options = [option for part in (element, *parts) for option in getattr(part, "_with_options", ())]
    copy: Any = visitors.cloned_traverse(element, {"stop_on": options}, {"select": copies.append})
    for part in copies:
        part._where_criteria += tuple(criteria.of_select(part))
    return copy


def require_provable(statement: Any) -> None:
    """``WrongTenant`` for a write that would move rows, or that replaces rows without saying whose."""
    column = columns.tenant_column(statement.table)
    if column is None:
        return
    clause = getattr(statement, "_post_values_clause", None)
    if clause is not None and hasattr(clause, "update") and not hasattr(clause, "update_values_to_set"):
        raise Unproved(
            f"ON DUPLICATE KEY UPDATE changes rows of {column.table.name} that may be another tenant's, and it can say "
            f"nothing of whose they are: read first, then insert or update, or do it under Current.system(...)"
        )
    if any("REPLACE" in str(prefix).upper() for prefix, _ in getattr(statement, "_prefixes", ())):
        raise Unproved(
            f"REPLACE deletes rows of {column.table.name} that may be another tenant's: use on_conflict_do_update, or "
            f"do it under Current.system(...)"
        )


_by_us: WeakKeyDictionary[UpdateBase, tuple[ColumnElement[bool], ...]] = WeakKeyDictionary()
_known: WeakKeyDictionary[UpdateBase, Executable | None] = WeakKeyDictionary()

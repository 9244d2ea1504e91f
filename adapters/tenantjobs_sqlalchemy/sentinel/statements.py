"""Statements on tenants' tables that do not ask for the current tenant: text and Core, beyond any ORM criterion."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, event, inspect
from sqlalchemy.orm import Mapper, ORMExecuteState, Session

from tenantjobs import sentinel
from tenantjobs.current import Current
from tenantjobs_sqlalchemy.rls import installation as rls
from tenantjobs_sqlalchemy.scoping import TenantScoped, owner_text, tenant_attribute
from tenantjobs_sqlalchemy.sentinel import operands

OWN_ROW = "tenantjobs_own_row"

# One table after FROM, a JOIN or a verb; a list after FROM may have others before it.
_TABLE = r"""(?ix)
    (?: \b(?:join|into|update|using|only|table|copy)\s+
      | \bfrom\s+(?:only\s+)? (?:[\w."`]+ (?:\s+(?:as\s+)?\w+)? \s*,\s*)*
    )
    (?:["`]?\w+["`]?\.)? ["`]? {} ["`]? (?![\w.])
"""
_TALK = r"'(?:[^']|'')*'|--[^\n]*|/\*(?s:.*?)\*/"  # texts and comments
_COMPARED = r'(?i)\b{}["`]?\s*(?:=|in\b)'


def listen() -> None:
    event.listen(Session, "do_orm_execute", _mark)
    event.listen(Engine, "before_cursor_execute", _check)


def _mark(state: ORMExecuteState) -> None:
    # The reload of a record that the session has: by its key, and looked at when it arrives.
    if state.is_column_load:
        state.update_execution_options(**{OWN_ROW: True})


def _check(connection: Connection, _cursor: object, statement: str, parameters: Any, context: Any, _many: bool) -> None:
    if sentinel.watching() is None or Current.scope == "system":
        return
    tables = _tables(statement, _known())
    if not tables or _is_of_own_rows(statement, context) or rls.holds(connection.engine):
        return
    code = operands.without_comments(statement)
    if not all(_asks_for(Current.tenant_id, column, code, parameters) for _, column in tables):
        names = ", ".join(name for name, _ in tables)
        sentinel.found(
            "unscoped query", f"runs a statement on {names} that does not ask for its tenant", statement=statement
        )


def _is_of_own_rows(statement: str, context: Any) -> bool:
    """What the unit of work writes goes by the key of rows whose tenant was checked before."""
    options: Mapping[str, Any] = getattr(context, "execution_options", {})
    by_key = "compiled_cache" in options and not _is_insert(statement)
    return by_key or bool(options.get(OWN_ROW))


@lru_cache(maxsize=1024)
def _tables(statement: str, known: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The tenants' tables that are named in the statement, each with its column."""
    code = re.sub(_TALK, " '' ", statement)
    return tuple(
        (name, column) for name, column in known if name in code and re.search(_TABLE.format(re.escape(name)), code)
    )


def _asks_for(tenant_id: str | None, column: str, statement: str, parameters: Any) -> bool:
    if _is_insert(statement):
        is_named = re.search(rf"(?i)\b{re.escape(column)}\b", statement) is not None
        return is_named and _speaks_of(tenant_id, statement, parameters)
    compared = operands.compared(column, statement, parameters)
    if compared:
        return all(owner_text(value) == tenant_id for value in compared)
    is_compared = re.search(_COMPARED.format(re.escape(column)), statement) is not None
    return is_compared and _speaks_of(tenant_id, statement, parameters)


def _is_insert(statement: str) -> bool:
    return statement.lstrip()[:6].upper() == "INSERT"


def _speaks_of(tenant_id: str | None, statement: str, parameters: Any) -> bool:
    if tenant_id is None:
        return False
    if any(owner_text(value) == tenant_id for value in _values(parameters)):
        return True
    return re.search(rf"(?i)(?<![\w-]){re.escape(tenant_id)}(?![\w-])", statement) is not None


def _values(parameters: Any) -> Iterator[object]:
    inner: Iterable[Any] = parameters.values() if isinstance(parameters, Mapping) else parameters or ()
    for value in inner:
        if isinstance(value, (Mapping, list, tuple, set)):
            yield from _values(value)
        else:
            yield value


def _known() -> tuple[tuple[str, str], ...]:
    """Name and tenant column of every mapped table that belongs to tenants."""
    found: dict[str, str] = {}
    for model in _models(TenantScoped):
        mapper: Mapper[Any] | None = inspect(model, raiseerr=False)
        column = None if mapper is None else mapper.columns.get(tenant_attribute(model))
        if isinstance(column, Column) and isinstance(column.table, Table):
            found[column.table.name] = column.name
    return tuple(found.items())


def _models(model: type) -> Iterator[type]:
    subclass: type
    for subclass in model.__subclasses__():
        yield subclass
        yield from _models(subclass)

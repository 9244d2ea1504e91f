"""What a statement reads and writes of tenants' rows, and whether its own text keeps to one tenant.

A statement is compiled once more, by a compiler that notes which tables it renders in each SELECT, UPDATE and DELETE,
and for which of them it renders the criterion of the tenant. That is what the database will see, whatever form the
statement has, and it is asked once for each compiled statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, Join, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BooleanClauseList, Grouping
from sqlalchemy.sql.selectable import FromGrouping

from tenantjobs_sqlalchemy.scoping import columns, references, writes
from tenantjobs_sqlalchemy.scoping.columns import TenantValue


class Findings:
    """What a compiled statement does with tenants' rows."""

    __slots__ = ("name", "references", "target", "tenant_names", "unproved")

    def __init__(self, name: str, unproved: frozenset[str], target: Table | None, compiled: SQLCompiler) -> None:
        self.name = name  # of a table with tenants' rows; empty if there is none
        self.unproved = unproved  # tables that are not kept to one tenant
        self.target = target  # the table that an INSERT or UPDATE writes
        column = None if target is None else columns.tenant_column(target)
        # By which names its parameters have the tenant, and its keys to tenants' rows.
        self.tenant_names = () if column is None else writes.names_of(column.key, compiled)
        self.references = () if target is None else references.of_statement(target, compiled)


def findings(compiled: SQLCompiler) -> Findings:
    """What is known about the compiled statement."""
    found = _known.get(compiled)
    if found is None:
        found = _known[compiled] = _look(compiled)
    return found


def _look(compiled: SQLCompiler) -> Findings:
    statement: Any = compiled.statement
    dml: Any = writes.dml_of(statement)
    target = dml.table if compiled.isinsert or compiled.isupdate else None
    witness = _witness_of(type(compiled))(
        compiled.dialect, statement, column_keys=compiled.column_keys, for_executemany=compiled.for_executemany
    )
    names, unproved = set(witness.names), set(witness.unproved)
    if target is not None and columns.is_nickname(target):
        unproved.add(target.name)
    if target is not None and (columns.tenant_column(target) is not None or target.name in unproved):
        names.add(target.name)
    table = target if isinstance(target, Table) else None
    return Findings(min(names, default=""), frozenset(unproved), table, compiled)


class _Frame:
    """One SELECT, UPDATE or DELETE."""

    def __init__(self) -> None:
        self.read: dict[str, Table] = {}  # by the name that it has here: a FROM names nothing twice
        self.parts: set[Table] = set()
        self.proved: set[str] = set()
        self.loose: set[int] = set()  # conditions of outer joins, which keep no row away: by ``id``


class _Witness:
    """Mixed into the compiler of a dialect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.frames: list[_Frame] = [_Frame()]
        self.names: set[str] = set()
        self.unproved: set[str] = set()
        super().__init__(*args, **kwargs)
        self._leave()

    def visit_select(self, *args: Any, **kwargs: Any) -> Any:
        return self._framed("visit_select", args, kwargs)

    def visit_update(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        if len(self.frames) > 1 and _moves(statement):
            self._refuse(statement.table)
        return self._framed("visit_update", (statement, *args), kwargs)

    def visit_delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._framed("visit_delete", args, kwargs)

    def visit_insert(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        table = statement.table
        if len(self.frames) > 1 and (columns.tenant_column(table) is not None or references.of_table(table)):
            self._refuse(table)
        return self._framed("visit_insert", (statement, *args), kwargs)

    def visit_join(self, join: Any, *args: Any, **kwargs: Any) -> Any:
        if join.full or join.isouter:
            kept = set() if join.full else {_name(source) for source in _sources(join.right)}
            self.frames[-1].loose |= {id(term) for term in _terms(join.onclause) if _subject(term) not in kept}
        return super().visit_join(join, *args, **kwargs)  # type: ignore[misc]  # of the compiler

    def visit_table(self, table: Any, asfrom: bool = False, **kwargs: Any) -> Any:
        if asfrom:
            alias = kwargs.get("enclosing_alias")
            source = alias if alias is not None and alias.element is table else table
            self._note(table, source)
        return super().visit_table(table, asfrom=asfrom, **kwargs)  # type: ignore[misc]  # of the compiler

    def visit_binary(self, binary: Any, *args: Any, **kwargs: Any) -> Any:
        subject = _subject(binary)
        if subject is not None and id(binary) not in self.frames[-1].loose:
            self.frames[-1].proved.add(subject)
            stands_for = binary.right.callable.stands_for
            if stands_for is not None:  # it is in an EXISTS of the statement that it is about
                self.frames[-2].proved.add(_name(stands_for))
        return super().visit_binary(binary, *args, **kwargs)  # type: ignore[misc]  # of the compiler

    def _note(self, table: Any, source: Any) -> None:
        if columns.tenant_column(table) is not None:
            self.frames[-1].read[_name(source)] = table
            self.names.add(table.name)
        elif columns.part_of(table) is not None:
            self.frames[-1].parts.add(table)
            self.names.add(table.name)
        elif columns.is_nickname(table):
            self._refuse(table)

    def _refuse(self, table: Any) -> None:
        self.names.add(table.name)
        self.unproved.add(table.name)

    def _framed(self, visit: str, args: Any, kwargs: Any) -> Any:
        self.frames.append(_Frame())
        text = getattr(super(), visit)(*args, **kwargs)
        self._leave()
        return text

    def _leave(self) -> None:
        frame = self.frames.pop()
        self.unproved |= {table.name for name, table in frame.read.items() if name not in frame.proved}
        # What continues rows of another table is proved by standing beside that one.
        beside = {table for name, table in frame.read.items() if name in frame.proved}
        for part in frame.parts:
            mapper = columns.part_of(part)
            assert mapper is not None
            if columns.owner_of_part(mapper).table not in beside and _name(part) not in frame.proved:
                self.unproved.add(part.name)


def _subject(term: Any) -> str | None:
    """The name of the table or alias whose rows this condition keeps to the tenant."""
    bound = getattr(term, "right", None)
    is_criterion = isinstance(bound, BindParameter) and isinstance(bound.callable, TenantValue)
    return _name(term.left.table) if is_criterion else None


def _terms(condition: Any) -> Iterator[Any]:
    """The conditions that must all hold."""
    if isinstance(condition, Grouping):
        yield from _terms(condition.element)
    elif isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        for each in condition.clauses:
            yield from _terms(each)
    else:
        yield condition


def _sources(source: Any) -> Iterator[Any]:
    """The tables and aliases that are joined."""
    if isinstance(source, Join):
        yield from _sources(source.left)
        yield from _sources(source.right)
    elif isinstance(source, FromGrouping):
        yield from _sources(source.element)
    else:
        yield source


def _moves(statement: Any) -> bool:
    """Whether this UPDATE may give rows to another tenant, or let them refer to another tenant's."""
    table = statement.table
    owner = columns.tenant_column(table)
    if owner is None and not references.of_table(table):
        return False
    harmless = {column.key for column in table.c if column is not owner and not column.foreign_keys}
    keys = dict(statement._values or getattr(statement, "_ordered_values", None) or ())
    return any(getattr(key, "key", key) not in harmless for key in keys)


def _name(source: Any) -> str:
    name: str = source.fullname if isinstance(source, Table) else source.name
    return name


def _witness_of(compiler: type[SQLCompiler]) -> Any:
    found = _witnesses.get(compiler)
    if found is None:
        found = _witnesses[compiler] = type("Witness", (_Witness, compiler), {})
    return found


_known: WeakKeyDictionary[SQLCompiler, Findings] = WeakKeyDictionary()
_witnesses: dict[type[SQLCompiler], Any] = {}

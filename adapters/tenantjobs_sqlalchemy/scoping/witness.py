"""What a statement reads and writes of tenants' rows, and whether its own text keeps to one tenant.

A statement is compiled once more, by a compiler that notes which tables it renders in each SELECT, UPDATE and DELETE,
and for which of them it renders the criterion of the tenant. That is what the database will see, whatever form the
statement has, and it is asked once for each compiled statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Join, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnClause
from sqlalchemy.sql.selectable import FromGrouping

from tenantjobs_sqlalchemy.scoping import columns, conditions, references, writes
from tenantjobs_sqlalchemy.scoping.columns import TenantParameter


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
    # Of a model with several tables, a bulk statement says which one only when it is compiled.
    dml: Any = compiled.dml_compile_state
    target = dml.statement.table if compiled.isinsert or compiled.isupdate else None
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
        self.proved: set[str] = set()
        self.equal: set[tuple[str, str, str, str]] = set()  # rows of a name have in a column what others have in one
        self.bound: dict[int, set[str]] = {}  # by ``id``: whose rows the conditions of outer joins keep away

    def prove(self) -> set[str]:
        """The names whose rows are the tenant's: those with the criterion, and those that lead to them."""
        while found := {name for name in self.read if name not in self.proved and self._follows(name)}:
            self.proved |= found
        return self.proved

    def _follows(self, name: str) -> bool:
        table = self.read[name]
        mapper = columns.part_of(table)
        if mapper is not None:
            return self._leads(name, columns.steps_of_part(mapper))
        elif columns.is_secondary(table):
            return any(self._leads(name, steps) for steps in references.steps(table))
        else:
            return False

    def _leads(self, name: str, steps: list[tuple[Any, Any]]) -> bool:
        """Whether all of these columns have what those of a table have whose rows are the tenant's."""
        return any(
            base == steps[0][1].table and all((name, here.key, other, there.key) in self.equal for here, there in steps)
            for other, base in self.read.items()
            if other in self.proved
        )


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
            self.frames[-1].bound.update((id(term), kept) for term in conditions.terms(join.onclause))
        return super().visit_join(join, *args, **kwargs)  # type: ignore[misc]  # of the compiler

    def visit_table(self, table: Any, asfrom: bool = False, **kwargs: Any) -> Any:
        if asfrom:
            alias = kwargs.get("enclosing_alias")
            source = alias if alias is not None and alias.element is table else table
            self._note(table, source)
        return super().visit_table(table, asfrom=asfrom, **kwargs)  # type: ignore[misc]  # of the compiler

    def visit_binary(self, binary: Any, *args: Any, **kwargs: Any) -> Any:
        frame, right = self.frames[-1], binary.right
        names = frame.bound.get(id(binary))
        if isinstance(right, TenantParameter):
            name = _name(binary.left.table)
            if names is None or name in names:
                frame.proved.add(name)
                stands_for = right.callable.stands_for
                if stands_for is not None:  # it is in an EXISTS of the statement that it is about
                    self.frames[-2].proved.add(_name(stands_for))
        elif (
            binary.operator is operators.eq
            and isinstance(binary.left, ColumnClause)
            and isinstance(right, ColumnClause)
        ):
            for here, there in ((binary.left, right), (right, binary.left)):
                name = _name(here.table)
                if names is None or name in names:
                    frame.equal.add((name, here.key, _name(there.table), there.key))
        return super().visit_binary(binary, *args, **kwargs)  # type: ignore[misc]  # of the compiler

    def _note(self, table: Any, source: Any) -> None:
        if columns.tenant_column(table) is not None or columns.part_of(table) is not None:
            self.frames[-1].read[_name(source)] = table
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
        if not frame.read.keys() <= frame.proved:
            proved = frame.prove()
            self.unproved |= {table.name for name, table in frame.read.items() if name not in proved}


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
    name: str = source.fullname if isinstance(source, Table) else getattr(source, "name", "")
    return name


def _witness_of(compiler: type[SQLCompiler]) -> Any:
    found = _witnesses.get(compiler)
    if found is None:
        found = _witnesses[compiler] = type("Witness", (_Witness, compiler), {})
    return found


_known: WeakKeyDictionary[SQLCompiler, Findings] = WeakKeyDictionary()
_witnesses: dict[type[SQLCompiler], Any] = {}

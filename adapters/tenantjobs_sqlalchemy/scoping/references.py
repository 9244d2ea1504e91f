"""Foreign keys to tenants' rows lead to rows of the tenant, also where the database would accept others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import BindParameter, Column, Connection, Select, Table, bindparam, select, tuple_
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.scoping import columns, identities, reads, writes
from tenantjobs_sqlalchemy.scoping.refusals import ForeignRow

_AT_ONCE = 500


class Reference:
    """A foreign key of a table, to a table with tenants' rows."""

    def __init__(self, pairs: list[tuple[Column[Any], Column[Any]]], *, deferrable: bool) -> None:
        self.keys = [here.key for here, _ in pairs]
        self.names: list[tuple[str | None, ...]] = []  # of the values in a statement's parameters
        self.targets = [there for _, there in pairs]
        self.table: Table = self.targets[0].table
        self.own_rows = self._own_rows()  # made once: it is asked in many a flush
        self.deferrable = deferrable

    def _own_rows(self) -> Select[Any]:
        """Which of the ``wanted`` keys are there, in rows of the tenant."""
        wanted: BindParameter[Any] = bindparam("wanted", expanding=True)
        key = self.targets[0] if len(self.targets) == 1 else tuple_(*self.targets)
        owner = columns.tenant_column(self.table)
        found = select(*self.targets).where(key.in_(wanted))
        # Without a column of its own, the table is narrowed on the way, by the one that it continues.
        return found if owner is None else found.where(columns.is_of_tenant(self.table, owner))


def of_table(table: Table) -> tuple[Reference, ...]:
    """The foreign keys to look after: those that do not hold the tenant themselves."""
    found = []
    for constraint in table.foreign_key_constraints:
        pairs = [(element.parent, element.column) for element in constraint.elements]
        target = constraint.referred_table
        owner = columns.tenant_column(target)
        own = columns.tenant_column(table)
        if (owner is None and columns.part_of(target) is None) or any(
            there is owner and here is own for here, there in pairs
        ):
            continue
        found.append(Reference(pairs, deferrable=bool(constraint.deferrable)))
    return tuple(found)


def steps(table: Table) -> list[list[tuple[Column[Any], Column[Any]]]]:
    """The columns of its foreign keys, each with the one that it refers to."""
    return [[(each.parent, each.column) for each in key.elements] for key in table.foreign_key_constraints]


def of_statement(table: Table, compiled: SQLCompiler) -> tuple[Reference, ...]:
    """The same for a statement that writes rows of the table."""
    found = of_table(table)
    for reference in found:
        reference.names = [writes.names_of(key, compiled) for key in reference.keys]
    return found


def check(session: Session, connection: Connection, references: tuple[Reference, ...], context: Any) -> None:
    """``WrongTenant`` if the statement would refer to a row that is not the tenant's. One SELECT for each foreign key,
    and none for what the session holds.
    """
    if in_force().reach.tenant_id is None:
        return
    for reference in references:
        wanted = set(_values(reference, context))
        if wanted:
            wanted = {key for key in wanted if not identities.holds_own(session, reference.targets, key)}
        if wanted:
            wanted -= identities.pending(session, reference.targets)
        if wanted:
            _look_up(connection, reference, wanted, context)


def _values(reference: Reference, context: Any) -> Iterator[tuple[Any, ...]]:
    """What the statement writes into the foreign key, as far as it shows it before it is executed."""
    for key in writes.rows(list(zip(reference.keys, reference.names, strict=True)), context):
        if None not in key and writes.EXPRESSION not in key:
            yield key


def _look_up(connection: Connection, reference: Reference, wanted: set[tuple[Any, ...]], context: Any) -> None:
    known = {_text(key) for key in _own_rows(connection, reference, list(wanted))}
    missing = [key for key in wanted if _text(key) not in known]
    if missing and reference.table is context.compiled.dml_compile_state.statement.table:
        keys = [(target.key, writes.names_of(target.key, context.compiled)) for target in reference.targets]
        beside = {_text(key) for key in writes.rows(keys, context)}
        missing = [key for key in missing if _text(key) not in beside]
    if missing and not reference.deferrable:
        names = ", ".join(reference.keys)
        raise ForeignRow(
            f"{names} = {', '.join(map(str, missing[0]))} leads to no row of {reference.table.name} that is of tenant "
            f"{in_force().reach.tenant_id}: refer to its own, or do it under Current.system(...) if it is meant"
        )


def _own_rows(connection: Connection, reference: Reference, wanted: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    single = len(reference.targets) == 1
    is_narrow = columns.tenant_column(reference.table) is not None
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        keys = [key[0] for key in some] if single else some
        options = {reads.TRUSTED: True} if is_narrow else {}
        yield from map(tuple, connection.execute(reference.own_rows, {"wanted": keys}, execution_options=options))


def _text(key: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, key))  # a key may be given as a text where the column has numbers

"""The last look at what a session sends: each statement keeps to the tenant in force, or is not executed.

Connections that are not a session's are left alone, and so is textual SQL, which cannot be read.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.mixing import mix_in, mixed
from tenantjobs_sqlalchemy.scoping import narrowing, reads, references, refusals, shortfall, values, witness, writes
from tenantjobs_sqlalchemy.scoping.refusals import PinnedSession, Unproved


class Pin:
    """The tenant that a transaction of a session has worked for."""

    __slots__ = ("connections", "session", "tenant_id")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tenant_id: str | None = None
        self.connections: list[Connection] = []


class Pins(list[Pin]):
    """Those of a connection: one for each session that works on it, nearly always one."""

    def hold(self, tenant_id: str) -> None:
        """``CrossTenantSwitch`` if all sessions have worked for another tenant. Which of them it is, nobody says."""
        if any(pin.tenant_id == tenant_id for pin in self):
            return
        for pin in reversed(self):
            if pin.tenant_id is None:
                pin.tenant_id = tenant_id
                return
        raise PinnedSession(
            f"a session that has worked for tenant {self[-1].tenant_id} was used for tenant {tenant_id} in the same "
            f"transaction: commit or roll back first, or take another session for the other tenant"
        )


def listen() -> None:
    """Guard the connections of all sessions."""
    event.listen(Session, "after_begin", _began)
    event.listen(Session, "after_transaction_end", _ended)


def _began(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    root = session.get_transaction()
    if root is None:
        return
    pin = _pins_of_transactions.get(root)
    if pin is None:
        pin = _pins_of_transactions[root] = Pin(session)
    elif connection in pin.connections:
        return
    pin.connections.append(connection)
    _pins.setdefault(connection, Pins()).append(pin)
    mix_in(_Guarded, connection)
    dialect = connection.engine.dialect
    if not issubclass(dialect.execution_ctx_cls, _Looked):  # engines with other options share their dialect
        dialect.execution_ctx_cls = mixed(_Looked, dialect.execution_ctx_cls)


def _ended(_session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        pin = _pins_of_transactions.pop(transaction, None)
        if pin is not None:
            for connection in pin.connections:
                pins = _pins[connection]
                pins.remove(pin)
                if not pins:
                    del _pins[connection]


class _Guarded(Connection):
    """Mixed into the connection of a session, which executes all that is no bare text by this method.

    Not the events ``before_execute`` and ``after_execute``: where an engine has any listener, SQLAlchemy looks for
    those of a cursor too, before and after each row of an INSERT that makes keys on SQLite.
    """

    def _execute_clauseelement(self, elem: Any, distilled_parameters: Any, execution_options: Any) -> Any:
        statement = _prepared(self, elem, execution_options)
        result = super()._execute_clauseelement(statement, distilled_parameters, execution_options)
        dml = writes.dml_of(statement)
        if dml is not None and in_force().reach.tenant_id is not None and self in _pins:
            given = distilled_parameters if any(distilled_parameters) else []  # without parameters it may be [{}]
            shortfall.check(self, dml, given, result)
        return result


def _prepared(connection: Connection, statement: Any, options: Any) -> Any:
    """The statement, for rows of the tenant in force."""
    is_select = getattr(statement, "is_select", False)
    if reads.TRUSTED in options or (is_select and reads.passes(statement)):
        return statement
    dml = writes.dml_of(statement)
    if (is_select or dml is not None) and in_force().reach.tenant_id is not None and connection in _pins:
        if isinstance(dml, Insert):
            narrowing.require_provable(dml)
        return narrowing.narrowed(statement)
    else:
        return statement


class _Looked:
    """Mixed into the execution context of a dialect: it is asked once for each statement.

    The event before a cursor is used would be called for each row of an INSERT where rows are sent one by one.
    """

    compiled: Any
    root_connection: Connection

    def pre_exec(self) -> None:
        super().pre_exec()  # type: ignore[misc]  # of the execution context
        if isinstance(self.compiled, SQLCompiler) and in_force().reach.reason is None:
            pins = _pins.get(self.root_connection)
            if pins is not None:
                _look_at(pins, self.root_connection, self)


def _look_at(pins: Pins, connection: Connection, context: Any) -> None:
    found = witness.findings(context.compiled)
    if found.name:
        tenant_id = refusals.tenant_of(found.name)
        if tenant_id is None:
            return
        if pins[-1].tenant_id != tenant_id:
            pins.hold(tenant_id)
        if found.unproved and reads.TRUSTED not in context.execution_options:
            raise Unproved(_not_kept(found.unproved, tenant_id))
    if found.target is not None:
        values.check(found.target, found.tenant_names, context)
        if found.references:
            references.check(pins[-1].session, connection, found.references, context)


def _not_kept(tables: frozenset[str], tenant_id: str) -> str:
    return (
        f"a statement in the scope of tenant {tenant_id} would reach rows of {', '.join(sorted(tables))} that may be "
        f"another tenant's: name mapped classes and not their tables, so that it can be filtered, and where an outer "
        f"join has to keep them, a subquery that selects them; or execute it under Current.system(...) if it is meant"
    )


_pins: WeakKeyDictionary[Connection, Pins] = WeakKeyDictionary()
_pins_of_transactions: WeakKeyDictionary[SessionTransaction, Pin] = WeakKeyDictionary()

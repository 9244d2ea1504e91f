"""The last look at what a session sends: each statement keeps to the tenant in force, or is not executed.

Connections that are not a session's are left alone, and so is textual SQL, which cannot be read.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, UpdateBase

from tenantjobs.scopes import in_force
from tenantjobs_sqlalchemy.mixing import mix_in, mixed
from tenantjobs_sqlalchemy.scoping import narrowing, reads, references, refusals, shortfall, values, witness
from tenantjobs_sqlalchemy.scoping.refusals import PinnedSession, Unproved


class Pin:
    """The tenant that a transaction of a session has worked for."""

    __slots__ = ("connections", "session", "tenant_id")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tenant_id: str | None = None
        self.connections: list[Connection] = []


def listen() -> None:
    """Guard the connections of all sessions."""
    event.listen(Session, "after_begin", _began)
    event.listen(Session, "after_transaction_end", _ended)


def _began(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    root = session.get_transaction()
    if root is None or connection in _pins:
        return
    pin = _pins_of_transactions.get(root)
    if pin is None:
        pin = _pins_of_transactions[root] = Pin(session)
    pin.connections.append(connection)
    _pins[connection] = pin
    mix_in(_Guarded, connection)
    dialect = connection.engine.dialect
    if not issubclass(dialect.execution_ctx_cls, _Looked):
        dialect.execution_ctx_cls = mixed(_Looked, dialect.execution_ctx_cls)


def _ended(_session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        pin = _pins_of_transactions.pop(transaction, None)
        if pin is not None:
            for connection in pin.connections:
                _pins.pop(connection, None)


class _Guarded(Connection):
    """Mixed into the connection of a session, which executes all that is no bare text by this method.

    Not the events ``before_execute`` and ``after_execute``: where an engine has any listener, SQLAlchemy looks for
    those of a cursor too, before and after each row of an INSERT that makes keys on SQLite.
    """

    def _execute_clauseelement(self, elem: Any, distilled_parameters: Any, execution_options: Any) -> Any:
        statement = _prepared(self, elem, execution_options)
        result = super()._execute_clauseelement(statement, distilled_parameters, execution_options)
        if isinstance(statement, UpdateBase) and in_force().reach.tenant_id is not None and self in _pins:
            shortfall.check(self, statement, distilled_parameters or [], result)
        return result


def _prepared(connection: Connection, statement: Any, options: Any) -> Any:
    """The statement, for rows of the tenant in force."""
    is_select = getattr(statement, "is_select", False)
    if reads.TRUSTED in options or (is_select and reads.passes(statement)):
        return statement
    elif (
        (is_select or isinstance(statement, UpdateBase))
        and in_force().reach.tenant_id is not None
        and connection in _pins
    ):
        if isinstance(statement, Insert):
            narrowing.require_provable(statement)
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
            pin = _pins.get(self.root_connection)
            if pin is not None:
                _look_at(pin, self.root_connection, self)


def _look_at(pin: Pin, connection: Connection, context: Any) -> None:
    found = witness.findings(context.compiled)
    if found.name:
        tenant_id = refusals.tenant_of(found.name)
        if tenant_id is None:
            return
        if pin.tenant_id != tenant_id:
            _pin(pin, tenant_id)
        if found.unproved and reads.TRUSTED not in context.execution_options:
            raise Unproved(_not_kept(found.unproved, tenant_id))
    if found.target is not None:
        values.check(found.target, context)
        if found.references:
            references.check(pin.session, connection, found.references, context)


def _pin(pin: Pin, tenant_id: str) -> None:
    if pin.tenant_id is not None:
        raise PinnedSession(
            f"a session that has worked for tenant {pin.tenant_id} was used for tenant {tenant_id} in the same "
            f"transaction: commit or roll back first, or take another session for the other tenant"
        )
    pin.tenant_id = tenant_id


def _not_kept(tables: frozenset[str], tenant_id: str) -> str:
    return (
        f"a statement in the scope of tenant {tenant_id} would reach rows of {', '.join(sorted(tables))} that may be "
        f"another tenant's: name mapped classes and not their tables, so that it can be filtered, or execute it under "
        f"Current.system(...) if it is meant"
    )


_pins: WeakKeyDictionary[Connection, Pin] = WeakKeyDictionary()
_pins_of_transactions: WeakKeyDictionary[SessionTransaction, Pin] = WeakKeyDictionary()

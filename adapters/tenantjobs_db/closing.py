"""Tenants that are closed: one that is drained takes nothing new, one that is purged takes nothing at all.

The statement that would write a row of theirs looks whether they are, so that whoever was asleep between a look and a
write does not write after all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal

from sqlalchemy import Column, ColumnElement, Connection, Insert, Table, bindparam, delete, exists, func, select, update
from sqlalchemy.exc import DBAPIError

from tenantjobs.errors import TenancyError, TenantClosed, TenantGone
from tenantjobs.running import going_on, is_going_on
from tenantjobs_db.arrays import Array
from tenantjobs_db.database import Database
from tenantjobs_db.dialect import Dialect
from tenantjobs_db.refusing import is_missing, saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.tables import closed

DRAINING: Final = "draining"
PURGING: Final = "purging"  # some of its rows may be there
PURGED: Final = "purged"  # none is

MOST_LISTED = 500  # tenants that one statement asks for by name

State = Literal["draining", "purging", "purged"]


class Closing:
    """Which tenants are closed, by their ids."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        of_tenant = closed.c.tenant == bindparam("of_tenant")
        now = {"closed_at": dialect.now()}
        self._insert = dialect.insert_new(closed).values(**now)
        self._go_on = update(closed).where(of_tenant, _is_in("before")).values(state=bindparam("next_state"), **now)
        self._open = delete(closed).where(of_tenant, _is_in("states"))
        self._find = select(closed).where(of_tenant)
        self._all = select(closed).where(closed.c.state != PURGED)

    def drain(self, tenant: str, reason: str | None) -> bool:
        """Take nothing new; False if it is so already. ``TenantGone`` for one that is purged."""
        row = {"tenant": tenant, "state": DRAINING, "reason": reason}
        with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.begin() as connection:
            before = self.find(connection, tenant)
            if before is None:
                connection.execute(self._insert, row)
        if before is not None and before.state != DRAINING:
            raise refusal(tenant, before.state)
        return before is None

    def bury(self, connection: Connection, tenant: str, state: State) -> None:
        """From now on nothing is taken; ``state`` is purging, and then purged."""
        before = [other for other in (DRAINING, PURGING, PURGED) if other != state]
        connection.execute(self._insert, {"tenant": tenant, "state": state, "reason": None})
        connection.execute(self._go_on, {"of_tenant": tenant, "before": before, "next_state": state})

    def open(self, tenant: str, *, purged: bool) -> bool:
        """Take jobs again; False if it was not closed. ``TenantGone`` if it is purged and nobody said so."""
        states = [DRAINING, PURGED] if purged else [DRAINING]
        with saying_what_is_missing(), saying_who_is_in_the_way(), self._database.begin() as connection:
            opened = connection.execute(self._open, {"of_tenant": tenant, "states": states}).rowcount == 1
            left = self.find(connection, tenant)
        if left is not None and left.state == PURGING:
            raise TenantGone(
                f"tenant {tenant} is being purged since {left.closed_at:%Y-%m-%d %H:%M} UTC, and some of it may be "
                f"there yet: let `tenantjobs tenants purge {tenant}` come to its end first"
            )
        if left is not None:
            raise refusal(tenant, left.state)
        return opened

    def closed(self, tenants: Collection[str]) -> frozenset[str]:
        """Those of ``tenants`` for which nothing would be taken from who asks now; none where our tables are not."""
        try:
            with self._database.autocommit() as connection:
                return frozenset(found_closed(connection, tenants))
        except DBAPIError as error:
            if not is_missing(error):
                raise
            return frozenset()

    def find(self, connection: Connection, tenant: str) -> Any | None:
        """The row of a tenant that is closed."""
        return connection.execute(self._find, {"of_tenant": tenant}).first()

    def all(self, connection: Connection) -> Sequence[Any]:
        """The rows of those of which something may be there."""
        return connection.execute(self._all).all()


def insert_unless_closed(
    dialect: Dialect, table: Table, given: Sequence[Column[Any]], made: Mapping[str, ColumnElement[Any]]
) -> Insert:
    """An insert of a row that is new, and whose tenant is not closed; its ``rowcount`` is 0 else.

    The columns ``given`` are parameters of their names, the others are ``made`` by expressions.
    """
    return _insert(dialect, table, given, made, is_closed)


def insert_unless_buried(
    dialect: Dialect,
    table: Table,
    given: Sequence[Column[Any]],
    made: Mapping[str, ColumnElement[Any]],
    *,
    counted: Column[Any] | None = None,
) -> Insert:
    """The same for what belongs to work that a drained tenant has; with ``counted`` it counts as ``insert_counted``."""
    return _insert(dialect, table, given, made, _is_buried, counted)


def is_closed(tenant: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether it is, for who asks now: what goes on with work that a tenant has is let in while it is drained."""
    return exists().where(closed.c.tenant == tenant, closed.c.state != _spared())


def is_any_closed(tenants: str) -> ColumnElement[bool]:
    """The same of those in the parameter ``tenants``, an array: asked once for a statement, not for each row."""
    listed = bindparam(tenants, type_=Array(closed.c.tenant.type))
    return exists().where(closed.c.tenant == func.any(listed), closed.c.state != _spared())


def _is_buried(tenant: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(closed.c.tenant == tenant, closed.c.state != DRAINING)


def refuse_buried(connection: Connection, tenants: Collection[str]) -> None:
    """``TenantGone`` if one of them is being purged, or was."""
    with going_on():
        refuse_closed(connection, tenants)


def refuse_closed(connection: Connection, tenants: Collection[str]) -> None:
    """``TenantClosed`` or ``TenantGone`` if one of them is closed."""
    for tenant, state in found_closed(connection, tenants).items():
        raise refusal(tenant, state)


def found_closed(connection: Connection, tenants: Collection[str]) -> Mapping[str, str]:
    """Those of ``tenants`` that are closed for who asks now, each with its state."""
    names = set(tenants)
    if len(names) > MOST_LISTED:  # a statement has not so many parameters everywhere
        rows = connection.execute(_FIND_ALL)
    else:
        rows = connection.execute(_FIND, {"listed": sorted(names)})
    return {row.tenant: row.state for row in rows if row.tenant in names}


def refusal(tenant: str, state: str) -> TenancyError:
    """What is raised for a tenant that is closed."""
    if state == DRAINING:
        return TenantClosed(
            f"tenant {tenant} takes no new jobs: it is being drained. Nothing was stored; open it again with "
            f"`tenantjobs tenants open {tenant}`"
        )
    return TenantGone(
        f"tenant {tenant} was purged, and nothing of it is stored any more. If the id belongs to a new tenant, say so "
        f"with `tenantjobs tenants open {tenant}`"
    )


def _is_in(states: str) -> ColumnElement[bool]:
    return closed.c.state.in_(bindparam(states, expanding=True))


def _insert(
    dialect: Dialect,
    table: Table,
    given: Sequence[Column[Any]],
    made: Mapping[str, ColumnElement[Any]],
    is_refused: Callable[[ColumnElement[str]], ColumnElement[bool]],
    counted: Column[Any] | None = None,
) -> Insert:
    insert = dialect.insert_new(table) if counted is None else dialect.insert_counted(table, counted)
    values: dict[str, Any] = {column.name: bindparam(column.name, type_=column.type) for column in given} | dict(made)
    row = dialect.row(values.values()).where(~is_refused(values["tenant"]))
    return insert.from_select(list(values), row).execution_options(preserve_rowcount=True)


def _spared() -> ColumnElement[str]:
    return bindparam("tj_spared", callable_=lambda: DRAINING if is_going_on() else "", type_=closed.c.state.type)


_FIND_ALL = select(closed.c.tenant, closed.c.state).where(closed.c.state != _spared()).order_by(closed.c.tenant)
_FIND = _FIND_ALL.where(closed.c.tenant.in_(bindparam("listed", expanding=True)))

"""Rows that belong to one tenant each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, String, bindparam, event, inspect, true
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.orm import (
    InstanceState,
    Mapped,
    ORMExecuteState,
    Session,
    declared_attr,
    mapped_column,
    with_loader_criteria,
)

from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError, TenantMissing, WrongTenant
from tenantjobs.identity import canonical_id
from tenantjobs_sqlalchemy import keys


class TenantScoped:
    """A mixin for models whose rows belong to one tenant each, by the column ``tenant_id``.

    In the scope of a tenant, ORM queries and ORM-enabled updates and deletes see the rows of that tenant only, a
    new row gets its id with the flush, and a flush that would insert, update, move or delete a row of another tenant
    raises ``WrongTenant``. Without a tenant both raise ``TenantMissing``; ``Current.system(reason)`` sees everything.
    It holds for every ``Session``. Declare ``tenant_id`` yourself for another type or a foreign key.

    What it does not see yet: textual and Core statements, insert statements, bulk inserts and updates by key, an update
    whose values move rows, an object of another tenant that the session holds already, the reload of an expired one,
    and a foreign key to another tenant's row. A new row belongs to the tenant of the flush, not of ``session.add``.
    """

    if TYPE_CHECKING:
        tenant_id: Mapped[Any]
    else:

        @declared_attr
        def tenant_id(cls):  # no annotation: it would make a field of a class that is mapped as a dataclass
            return mapped_column(String(255), index=True, nullable=False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _listen()

    @classmethod
    def __is_of_tenant__(cls) -> ColumnElement[bool]:
        if cls is TenantScoped:  # asked once, to see what kind of criterion this is
            return true()
        column = cls.tenant_id
        criterion: ColumnElement[bool] = column == bindparam(
            "tenantjobs_tenant", callable_=_current_id_for(column), type_=column.type
        )
        return criterion


class UnscopedQuery(TenantMissing, DontWrapMixin):
    """A query of tenants' rows without a tenant; SQLAlchemy passes it on as it is."""


class MisfitTenant(ConfigurationError, DontWrapMixin):
    """A tenant whose id the column cannot hold; passed on as it is too."""


def owner_text(tenant_id: object) -> str:
    """The tenant id of a row as the text that ``Current.tenant_id`` is compared with."""
    try:
        return canonical_id(tenant_id)
    except ValueError:
        return repr(tenant_id)  # nobody's


def _filter(state: ORMExecuteState) -> None:
    if Current.scope == "system" or state.is_column_load or not (state.is_select or state.is_update or state.is_delete):
        return
    # A lazy load has it from the query that loaded its parent.
    if _CRITERION not in getattr(state.statement, "_with_options", ()):
        state.statement = state.statement.options(_CRITERION)


def _check_flush(session: Session, *_: object) -> None:
    if Current.scope == "system":
        return
    for record in session.new:
        if isinstance(record, TenantScoped):
            _fill(record)
    for record in [*session.dirty, *session.deleted]:
        if isinstance(record, TenantScoped):
            _require_own(record, "changed", _stored_owner(record))


def _fill(record: TenantScoped) -> None:
    state: InstanceState[Any] = inspect(record)
    if state.dict.get("tenant_id") is None:
        record.tenant_id = _current_id(_column(type(record)), type(record).__name__)


def _check_row(_mapper: object, _connection: object, record: TenantScoped) -> None:
    # Once more where the row is written: a relationship sets its foreign key in the flush itself.
    if Current.scope != "system":
        _require_own(record, "written", inspect(record).dict.get("tenant_id"))


def _stored_owner(record: TenantScoped) -> object:
    """Whose the row is in the database; it is loaded if the session does not know."""
    history = inspect(record).attrs.tenant_id.load_history()
    return next(iter(history.deleted or history.unchanged or ()), None)


def _require_own(record: TenantScoped, verb: str, owner: object) -> None:
    name = type(record).__name__
    if Current.tenant_id is None:
        raise TenantMissing(_missing(name))
    if owner is not None and owner_text(owner) != Current.tenant_id:
        raise WrongTenant(
            f"a {name} of tenant {owner} would be {verb} in the scope of tenant {Current.tenant_id}: flush it under "
            f"its own tenant, or under Current.system(...) if it is meant"
        )


def _current_id_for(column: Any) -> Callable[[], Any]:
    return lambda: _current_id(column, column.class_.__name__)


def _current_id(column: Any, name: str) -> Any:
    tenant_id = Current.tenant_id
    if tenant_id is None:
        raise UnscopedQuery(_missing(name))
    try:
        return keys.value_of(tenant_id, column)
    except ValueError as error:
        raise MisfitTenant(f"tenant {tenant_id} cannot be a {name}.tenant_id: {error}") from error


def _column(model: type) -> Column[Any]:
    column: Column[Any] = inspect(model).columns["tenant_id"]
    return column


def _missing(name: str) -> str:
    return (
        f"{name} belongs to tenants, and there is none here: set one (with Current.set(tenant=...)), or say that it is "
        f"for all of them (with Current.system('why'))"
    )


def _listen() -> None:
    """From the first model on. For every session: one that is not installed must not see more than the others."""
    if not event.contains(Session, "do_orm_execute", _filter):
        event.listen(Session, "do_orm_execute", _filter)
        event.listen(Session, "before_flush", _check_flush)
        for name in ("before_insert", "before_update", "before_delete"):
            event.listen(TenantScoped, name, _check_row, propagate=True)


_CRITERION = with_loader_criteria(TenantScoped, lambda cls: cls.__is_of_tenant__(), include_aliases=True)

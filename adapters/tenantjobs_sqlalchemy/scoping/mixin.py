"""``TenantScoped``: the mixin by which a model says that its rows belong to one tenant each."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ColumnDefault, ColumnElement, String, Table, event, true
from sqlalchemy.orm import Mapped, Mapper, declared_attr, mapped_column, synonym

from tenantjobs_sqlalchemy.scoping import columns, guard, reads, rows

if sys.version_info >= (3, 14):
    import annotationlib


class TenantScoped:
    """A mixin for models whose rows belong to one tenant each, by the column ``tenant_id``.

    In the scope of a tenant a session reads and changes the rows of that tenant only; a new row belongs to the tenant
    of its ``session.add``; what would insert, change, move, delete or refer to a row of another tenant raises
    ``WrongTenant``. Without a tenant all of it raises ``TenantMissing``; ``Current.system(reason)`` sees everything. A
    transaction that has worked for one tenant works for no other. It holds for every ``Session``.

    Declare ``tenant_id`` yourself for another type or a foreign key. ``__tenant_column__`` names another attribute::

        class Invoice(TenantScoped, Base):
            __tenant_column__ = "account_id"
            account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)

    Textual SQL, and connections that are not a session's, are not seen: that is the work of row level security.
    """

    __tenant_column__: ClassVar[str] = "tenant_id"
    __tenant_value__: ClassVar[columns.TenantValue]

    if TYPE_CHECKING:
        tenant_id: Mapped[Any]
    else:

        @declared_attr
        def tenant_id(cls):  # no annotation: it would make a field of a class that is mapped as a dataclass
            if cls.__tenant_column__ != "tenant_id":
                return synonym(cls.__tenant_column__)
            return mapped_column(String(255), index=True, nullable=False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        _listen()
        if "tenant_id" in _annotations(cls) and "tenant_id" not in cls.__dict__:
            cls.tenant_id = mapped_column(index=True)  # of the type that it says, and not what it would inherit
        super().__init_subclass__(**kwargs)

    @classmethod
    def __is_of_tenant__(cls) -> ColumnElement[bool]:
        if cls is TenantScoped:  # asked once, to see what kind of criterion this is
            return true()
        attribute = getattr(cls, cls.__tenant_column__)
        [column] = attribute.property.columns[:1]
        criterion: ColumnElement[bool] = attribute == columns.bind(columns.tenant_value(column))
        return criterion


def _annotations(cls: type) -> Collection[str]:
    if sys.version_info >= (3, 14):  # where they are evaluated when they are asked for
        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _mapped(mapper: Mapper[Any], model: type) -> None:
    if not issubclass(model, TenantScoped):
        return
    columns.learn(mapper)
    column: Any = mapper.columns[model.__tenant_column__]
    model.__tenant_value__ = columns.tenant_value(column)
    if column.default is None and isinstance(column.table, Table):  # for inserts that no flush makes
        default: Any = columns.tenant_value(column).default
        column.default = ColumnDefault(default)
        column.default.column = column


def _configured(mapper: Mapper[Any], model: type) -> None:
    if issubclass(model, TenantScoped):
        columns.learn_relations(mapper)


def _listen() -> None:
    """From the first model on. For every session: one that is not installed must not see more than the others."""
    global _is_listening
    if not _is_listening:
        _is_listening = True
        event.listen(Mapper, "after_mapper_constructed", _mapped)
        event.listen(Mapper, "mapper_configured", _configured)
        reads.listen(TenantScoped)
        rows.listen(TenantScoped)
        guard.listen()


_is_listening = False

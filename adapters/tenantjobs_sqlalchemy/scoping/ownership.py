"""Whose a record is, as far as the session knows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import InstanceState, LoaderCallableStatus, Mapper

from tenantjobs_sqlalchemy.scoping import refusals
from tenantjobs_sqlalchemy.scoping.columns import TenantValue

UNKNOWN = object()


def attribute(mapper: Mapper[Any]) -> str | None:
    """The name of the mapped attribute that says whose a record is; None for records of nobody."""
    cls = mapper.class_
    return getattr(cls, "__tenant_column__", None)


def value_of(mapper: Mapper[Any]) -> TenantValue:
    """What that attribute is compared with."""
    value: TenantValue = mapper.class_.__tenant_value__
    return value


def stored(state: InstanceState[Any], name: str) -> Any:
    """Whose the row is in the database, ``UNKNOWN`` if that is not loaded."""
    value = state.committed_state.get(name, UNKNOWN)
    if value is UNKNOWN:
        value = state.dict.get(name, UNKNOWN)
    return UNKNOWN if value is LoaderCallableStatus.NO_VALUE else value


def may_reload(state: InstanceState[Any]) -> bool:
    """Whether a reload of the record is safe: it is known to be the tenant's, or will be known when it is loaded."""
    name = attribute(state.mapper)
    if name is None:
        return False
    owner = stored(state, name)
    if owner is not UNKNOWN:
        require_own(state, owner, "read")
        return True
    return name in state.expired_attributes


def require_own(state: InstanceState[Any], owner: Any, verb: str) -> None:
    """``WrongTenant`` for a record whose row is another tenant's, ``TenantMissing`` without a tenant."""
    name = state.class_.__name__
    tenant_id = refusals.tenant_of(name)
    if tenant_id is not None and not value_of(state.mapper).is_own(owner):
        raise refusals.foreign(name, owner, verb, tenant_id)

"""Rows of another tenant, as they arrive in a session by a way that no filter is on."""

from __future__ import annotations

from sqlalchemy import event, inspect

from tenantjobs import sentinel
from tenantjobs.current import Current
from tenantjobs_sqlalchemy.scoping import TenantScoped, owner_text, tenant_attribute


def listen() -> None:
    event.listen(TenantScoped, "load", _seen, propagate=True)
    event.listen(TenantScoped, "refresh", _seen, propagate=True)


def _seen(record: TenantScoped, *_: object) -> None:
    if sentinel.watching() is None or Current.scope != "tenant":
        return
    owner = inspect(record).dict.get(tenant_attribute(type(record)))  # what is not loaded is not asked for
    if owner is not None and owner_text(owner) != Current.tenant_id:
        sentinel.found("foreign row", f"has read a {type(record).__name__} of tenant {owner}")

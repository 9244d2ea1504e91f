"""Sessions for tenants who have a place of their own, a schema or a database: each works in one place at a time."""

from __future__ import annotations

from typing import Any
from weakref import ref

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from tenantjobs.errors import CrossTenantSwitch, TenantMissing
from tenantjobs.scopes import in_force


class PlacedSession(Session):
    """A session that stays in the place of the tenant whom it was first used for, as long as it holds anything of it.

    Records of two places may have the same key, so it does not matter whether the transaction has ended: close the
    session, or take another one. ``CrossTenantSwitch`` under another tenant; ``TenantMissing`` without one, and in
    system scope too, since no place is that of all tenants.
    """

    _place: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _guard(self)

    def expunge_all(self) -> None:
        super().expunge_all()
        _guard(self)  # it has another identity map now
        if not self.in_transaction():
            self._place = None

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        self.require_place()
        return super().get_bind(*args, **kwargs)

    def require_place(self) -> str:
        """The tenant in force, whose place this session is in."""
        tenant_id = in_force().reach.tenant_id
        if tenant_id is None:
            raise TenantMissing(
                "tenants have places of their own here, and nobody says in which one to work: set a tenant (with "
                "Current.set(tenant=...)); for all of them, go through them one by one"
            )
        if self._place is None:
            self._place = tenant_id
        elif self._place != tenant_id:
            raise CrossTenantSwitch(
                f"a session in the place of tenant {self._place} was used for tenant {tenant_id}: close it first, or "
                f"take another session for the other tenant"
            )
        return tenant_id


class _Placed:
    """An identity map that is read in its own place only."""

    session: ref[PlacedSession]

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)  # type: ignore[misc]  # of the identity map
        session = self.session()
        if found is not None and session is not None:
            session.require_place()
        return found


def _guard(session: PlacedSession) -> None:
    known: Any = session.identity_map
    kind = type(known)
    known.__class__ = _kinds.get(kind) or _kinds.setdefault(kind, type("Placed", (_Placed, kind), {}))
    known.session = ref(session)


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if isinstance(session, PlacedSession) and transaction.parent is None and not len(session.identity_map):
        session._place = None


_kinds: dict[type, type] = {}
event.listen(PlacedSession, "after_transaction_end", _ended, propagate=True)

"""What is said when a statement or a row does not keep to the tenant. SQLAlchemy passes these errors on as they are."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DontWrapMixin

from tenantjobs import runtime
from tenantjobs.errors import ConfigurationError, CrossTenantSwitch, TenantMissing, WrongTenant
from tenantjobs.scopes import in_force

logger = logging.getLogger("tenantjobs.sqlalchemy")


class NoTenant(TenantMissing, DontWrapMixin):
    """Rows of tenants were asked for, and nobody said for whom."""


class ForeignRow(WrongTenant, DontWrapMixin):
    """A row of another tenant would have been read or written."""


class Unproved(WrongTenant, DontWrapMixin):
    """A statement that could reach rows of other tenants."""


class PinnedSession(CrossTenantSwitch, WrongTenant, DontWrapMixin):
    """A session that has worked for one tenant was used for another one in the same transaction."""


class MisfitTenant(ConfigurationError, DontWrapMixin):
    """A tenant whose id the column cannot hold."""


def is_unlimited() -> bool:
    """Whether there are no limits: in system scope, and where a missing tenant is only reported."""
    reach = in_force().reach
    return reach.tenant_id is None and (reach.reason is not None or runtime.settings().tenancy == "observe")


def tenant_of(what: str) -> str | None:
    """The tenant in force; None where there are no limits: in system scope, or where a missing one is only reported.

    ``TenantMissing`` if there is none; ``what`` belongs to tenants.
    """
    reach = in_force().reach
    if reach.tenant_id is None and reach.reason is None:
        if runtime.settings().tenancy != "observe":
            raise NoTenant(
                f"{what} belongs to tenants, and there is none here: set one (with Current.set(tenant=...)), or say "
                f"that it is for all of them (with Current.system('why'))"
            )
        logger.warning("%s belongs to tenants and was used without one; tenancy='observe' lets it pass", what)
    return reach.tenant_id


def foreign(name: str, owner: object, verb: str, tenant_id: str) -> ForeignRow:
    """A row that is known to be another tenant's."""
    return ForeignRow(
        f"a {name} of tenant {owner} would be {verb} in the scope of tenant {tenant_id}: do it under its own tenant, "
        f"or under Current.system(...) if it is meant"
    )

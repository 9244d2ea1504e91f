"""What a job's ``tenancy`` asks of the scope that it is enqueued or performed in, of its records, and of who looks."""

from __future__ import annotations

import logging

from tenantjobs import identity, runtime
from tenantjobs.current import Current, Snapshot
from tenantjobs.definition import Definition
from tenantjobs.errors import CrossTenantSwitch, TenantMissing, WrongTenant

logger = logging.getLogger("tenantjobs.tenancy")


def system_scope(definition: Definition, snapshot: Snapshot) -> Snapshot:
    """The scope of a job with ``tenancy = "none"``: the system's, with the attributes that were set."""
    return Snapshot(system=f"job {definition.name}", attributes=snapshot.attributes)


def require_scope(definition: Definition, verb: str) -> None:
    """What an unset scope means for this job: TenantMissing, a warning, or nothing."""
    if definition.tenancy == "required":
        raise TenantMissing(
            f"job {definition.name} was {verb} without a tenant. Set one around the call "
            f"(with Current.set(tenant=...)), say that it is for all of them (with Current.system('why')), or declare "
            f"tenancy='none' or 'optional' on the job"
        )
    if definition.tenancy == "observe":
        logger.warning("job %s was %s without a tenant; tenancy='observe' lets it pass", definition.name, verb)


def refuse_foreign(definition: Definition, record: object, tenant_id: str | None) -> None:
    """WrongTenant for a record that belongs to another tenant than ``tenant_id``."""
    if tenant_id is None:
        return
    owner = identity.tenant_of(record)
    if owner is not None and owner != tenant_id:
        raise WrongTenant(
            f"job {definition.name} for tenant {tenant_id} was given {type(record).__name__} of tenant {owner}: "
            f"pass a record of the current tenant, or work for the other one under Current.switch(...)"
        )


def visible_tenant(what: str, wanted: str | None = None) -> str | None:
    """The tenant whose jobs may be seen here, where those of ``wanted`` are asked for: None for all, "" for none.

    ``what`` was asked for, as in "stored jobs were".
    """
    if Current.scope == "tenant":
        current = Current.tenant_id
        if wanted not in (None, current):
            raise CrossTenantSwitch(
                f"the jobs of tenant {wanted or None} were asked for in the scope of tenant {current}: do it under "
                f"Current.switch(...), or under Current.system('why') outside of that scope"
            )
        return current
    if Current.scope == "unset" and runtime.settings().tenancy == "required":
        raise TenantMissing(
            f"{what} asked for without a tenant: set one around it (with Current.set(tenant=...)), or look among those "
            f"of all tenants (with Current.system('why'))"
        )
    return wanted

"""Rows that belong to one tenant each: who may read and write them through a session.

Three nets, each closed where the one before it cannot see:

- ``reads`` lets ORM queries see the tenant's rows, ``rows`` gives new rows to it and refuses foreign ones in a flush;
- ``narrowing`` adds the tenant to what the ORM does not: rows by key, bulk statements, Core tables, upserts;
- ``guard`` looks at every statement just before it is sent, and refuses one that is not proved to keep to the tenant.
"""

from __future__ import annotations

from tenantjobs_sqlalchemy.scoping.columns import owner_text, tenant_attribute, tenant_column
from tenantjobs_sqlalchemy.scoping.mixin import TenantScoped

__all__ = ["TenantScoped", "owner_text", "tenant_attribute", "tenant_column"]

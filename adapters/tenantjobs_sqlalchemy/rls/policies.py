"""The policies themselves, as statements for a migration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.dialects import postgresql

from tenantjobs_sqlalchemy.rls.tables import TenantTable, tables

TENANT = "tenantjobs.tenant_id"  # the settings of a transaction that the policies read
SYSTEM = "tenantjobs.system"
TENANT_POLICY = "tenantjobs_tenant"
SYSTEM_POLICY = "tenantjobs_system"


def enable(*sources: Any, system_role: str | None = None) -> list[str]:
    """The statements that hold the tables of ``sources`` (see ``tables``) to the tenant; again, they change nothing.

    To be run by the owner of the tables. The owner is held too, everyone is but superusers and roles with BYPASSRLS.

    Without a ``system_role``, a transaction in the scope of the system is told apart by a setting. PostgreSQL has to
    look at each row then to see which of the two policies lets it pass, unless the statement itself names the
    tenant, as the ORM's do. With one, only that role is let pass, ``install`` takes it for such transactions, and all
    others are held by the index on the tenant column alone.
    """
    return [statement for table in tables(*sources) for statement in _enabled(table, system_role)]


def disable(*sources: Any) -> list[str]:
    """The statements that undo ``enable``."""
    return [statement for table in tables(*sources) for statement in _disabled(table)]


def _enabled(table: TenantTable, system_role: str | None) -> Iterator[str]:
    # A sub-select is evaluated once for a statement; the bare function would be evaluated for each row. A setting that
    # some transaction has had is not NULL afterwards but empty, and an empty one is no tenant.
    tenant = f"(SELECT CAST({_setting(TENANT)} AS {table.type}))"
    system = f"(SELECT {_setting(SYSTEM)}) IS NOT NULL"
    yield f"ALTER TABLE {table.quoted} ENABLE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table.quoted} FORCE ROW LEVEL SECURITY"
    yield from _dropped(table)
    yield _policy(TENANT_POLICY, table, "PUBLIC", f"{table.quoted_column} = {tenant}")
    yield _policy(SYSTEM_POLICY, table, "PUBLIC" if system_role is None else _quoted(system_role), system)


def _disabled(table: TenantTable) -> Iterator[str]:
    yield from _dropped(table)
    yield f"ALTER TABLE {table.quoted} NO FORCE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table.quoted} DISABLE ROW LEVEL SECURITY"


def _dropped(table: TenantTable) -> Iterator[str]:
    yield f"DROP POLICY IF EXISTS {TENANT_POLICY} ON {table.quoted}"
    yield f"DROP POLICY IF EXISTS {SYSTEM_POLICY} ON {table.quoted}"


def _policy(name: str, table: TenantTable, role: str, condition: str) -> str:
    return (
        f"CREATE POLICY {name} ON {table.quoted} AS PERMISSIVE FOR ALL TO {role} "
        f"USING ({condition}) WITH CHECK ({condition})"
    )


def _setting(name: str) -> str:
    return f"nullif(current_setting('{name}', true), '')"


def _quoted(role: str) -> str:
    return postgresql.dialect().identifier_preparer.quote(role)  # type: ignore[no-untyped-call]

"""Whether row level security holds: what the role could do about it, and which tables have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.util import greenlet_spawn

from tenantjobs.current import cleared
from tenantjobs.errors import ConfigurationError
from tenantjobs_sqlalchemy.rls import catalogue
from tenantjobs_sqlalchemy.rls.policies import SYSTEM, SYSTEM_POLICY, TENANT, TENANT_POLICY
from tenantjobs_sqlalchemy.rls.tables import TenantTable, find

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


def verify(engine: Engine, *sources: Any) -> None:
    """``ConfigurationError`` with every reason why this engine's role could see or write more than its tenant's rows.

    For the application and its workers to call when they start. Looked at are the tables of ``sources``, as of
    ``tables``: of all models that are imported, if there are none.
    """
    found = findings(engine, *sources)
    if found:
        raise ConfigurationError("row level security does not hold:\n" + "\n".join(f"- {finding}" for finding in found))


async def averify(engine: AsyncEngine, *sources: Any) -> None:
    """As ``verify``, with await."""
    await greenlet_spawn(verify, engine.sync_engine, *sources)


def findings(engine: Engine, *sources: Any) -> list[str]:
    """The reasons themselves."""
    wanted, mistakes = find(*sources)
    with cleared(), engine.connect() as connection:
        return [*_of_role(connection), *_of_settings(connection), *mistakes, *_of_tables(connection, wanted)]


def _of_role(connection: Connection) -> Iterator[str]:
    roles = connection.execute(catalogue.ROLES).all()
    for role in roles:
        power = "is a superuser" if role.rolsuper else "has BYPASSRLS" if role.rolbypassrls else "has CREATEROLE"
        if role.is_own:
            held = "is held by no policy" if role.rolsuper or role.rolbypassrls else "can join a role that passes them"
            yield f"role {role.rolname} {power}, and {held}: connect as a role without it"
        elif not any(own.is_own and own.rolsuper for own in roles):  # who is a member of everything
            yield f"role {role.rolname} {power}, and the role of this engine is a member of it: SET ROLE gets there"


def _of_settings(connection: Connection) -> Iterator[str]:
    for setting in (TENANT, SYSTEM):
        value = connection.scalar(text("SELECT current_setting(:name, true)"), {"name": setting})
        if value:
            yield (
                f"{setting} is {value!r} on a new connection, where nobody has said so: an ALTER ROLE, ALTER DATABASE "
                f"or SET outlives its transaction"
            )


def _of_tables(connection: Connection, wanted: list[TenantTable]) -> Iterator[str]:
    seen = 0
    for table in wanted:
        for found in connection.execute(catalogue.FAMILY, {"name": table.quoted}):
            seen += 1
            if found.is_wanted or found.is_within_reach:  # a partition may be read past the table that it is part of
                yield from _of_table(connection, table, found)
    if not seen:
        yield "none of the tenants' tables is there: is it the right database, and the right search_path?"


def _of_table(connection: Connection, table: TenantTable, found: Row[Any]) -> Iterator[str]:
    if not found.relrowsecurity:
        yield f"table {found.name} is not under row level security: run what rls.enable makes"
    elif not found.relforcerowsecurity:
        yield f"table {found.name} is not under FORCE: its owner, {found.owner}, sees every row{_us(found)}"
    policies = connection.execute(catalogue.POLICIES, {"table": found.oid}).all()
    if not any(policy.polname == TENANT_POLICY for policy in policies):
        yield f"table {found.name} has no policy {TENANT_POLICY}: run what rls.enable makes"
    for policy in policies:
        yield from _of_policy(table, found.name, policy)
    for view in connection.execute(catalogue.VIEWS, {"table": found.oid}):
        what = "keeps rows" if view.is_copy else f"sees what its owner {view.owner} sees"
        yield f"view {view.name} of {found.name} {what}, whoever reads it: revoke it, or make it security_invoker"
    if found.may_truncate:
        yield f"the role may TRUNCATE {found.name}, which asks no policy: revoke it"


def _us(found: Row[Any]) -> str:
    return ", and the role of this engine is a member of it" if found.is_owned else ""


def _of_policy(table: TenantTable, name: str, policy: Row[Any]) -> Iterator[str]:
    setting = {TENANT_POLICY: TENANT, SYSTEM_POLICY: SYSTEM}.get(policy.polname)
    if setting is None:
        if policy.polpermissive and policy.applies:
            yield f"policy {policy.polname} on {name} is permissive, and lets rows pass that are not the tenant's"
        return
    needed = [f"current_setting('{setting}'", *([table.quoted_column] if setting == TENANT else [])]
    conditions = [policy.seen, policy.written]
    if not all(condition and " OR " not in condition for condition in conditions) or not all(
        part in condition for condition in conditions for part in needed
    ):
        yield f"policy {policy.polname} on {name} is not as rls.enable makes it, it says {policy.seen}: run that again"
    if policy.polname == SYSTEM_POLICY and policy.applies and not policy.is_for_all:
        yield (
            f"policy {policy.polname} on {name} is for a role whose rights the role of this engine inherits: make "
            f"that one NOINHERIT"
        )

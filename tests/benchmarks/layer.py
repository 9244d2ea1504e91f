"""What a lane has over bare SQLAlchemy. Never imported where it is not wanted."""

from __future__ import annotations

from sqlalchemy.orm import Session

import tenantjobs_sqlalchemy
from tenantjobs import Current, configure, job
from tenantjobs_sqlalchemy import TenantScoped
from tests.benchmarks import sessions


@job
def nothing(number: int) -> None: ...


def add(kind: sessions.Kind, *names: str) -> None:
    """``scoped`` models, ``installed`` sessions, and one ``job`` in each transaction."""
    configure(adapter="test", tenancy="required")
    kind.scope = Current.set(tenant_id=sessions.TENANT)
    if "scoped" in names:
        kind.mixin = TenantScoped
    if "installed" in names:
        tenantjobs_sqlalchemy.install(Session)
    if "job" in names:
        kind.enqueue = lambda: nothing.perform_later(7)

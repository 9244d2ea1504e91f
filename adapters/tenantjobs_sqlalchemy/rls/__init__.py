"""Row level security of PostgreSQL: the floor under everything that a session cannot see.

Policies let a role see and write the rows of one tenant, the one that its transaction has been told of::

    for statement in rls.enable(Base):           # in a migration, run as the owner of the tables
        op.execute(statement)

    rls.install(engine)                          # tells each transaction what ``Current`` says
    rls.verify(engine)                           # refuses a role that could see more

Where nothing is said, nothing is seen. It holds textual SQL, Core, COPY and functions to the tenant; it is a guard
against mistakes, not against whoever can run SQL of their own and say another tenant.
"""

from __future__ import annotations

from tenantjobs_sqlalchemy.rls.installation import install, uninstall
from tenantjobs_sqlalchemy.rls.policies import disable, enable
from tenantjobs_sqlalchemy.rls.tables import TenantTable, tables
from tenantjobs_sqlalchemy.rls.verification import averify, verify

__all__ = ["TenantTable", "averify", "disable", "enable", "install", "tables", "uninstall", "verify"]

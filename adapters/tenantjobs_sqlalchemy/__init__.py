"""tenantjobs for SQLAlchemy: jobs follow transactions, have a session, and take records as arguments.

For example::

    tenantjobs_sqlalchemy.install(Session)

    with Session.begin() as session:
        session.add(order)
        charge.perform_later(order)  # leaves with the commit; a rollback drops it
"""

from __future__ import annotations

from tenantjobs import sentinel as _sentinel
from tenantjobs_sqlalchemy.batching import ain_batches, in_batches
from tenantjobs_sqlalchemy.callbacks import after_create_commit, after_destroy_commit, after_update_commit
from tenantjobs_sqlalchemy.conflicts import deadlock
from tenantjobs_sqlalchemy.connections import begin
from tenantjobs_sqlalchemy.inserting import insert_once
from tenantjobs_sqlalchemy.installation import install, uninstall
from tenantjobs_sqlalchemy.locking import locked
from tenantjobs_sqlalchemy.scoping import TenantScoped
from tenantjobs_sqlalchemy.sentinel import DatabaseDetector
from tenantjobs_sqlalchemy.sessions import current_session

__all__ = [
    "TenantScoped",
    "after_create_commit",
    "after_destroy_commit",
    "after_update_commit",
    "ain_batches",
    "begin",
    "current_session",
    "deadlock",
    "in_batches",
    "insert_once",
    "install",
    "locked",
    "uninstall",
]

_sentinel.register(DatabaseDetector())

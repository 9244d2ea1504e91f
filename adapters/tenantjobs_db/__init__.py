"""The queue ``db``: jobs in SQLite or PostgreSQL, fair between tenants, in the application's own transactions."""

from __future__ import annotations

from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.outbox import relay
from tenantjobs_db.settings import DatabaseSettings

__all__ = ["DatabaseAdapter", "DatabaseSettings", "relay"]

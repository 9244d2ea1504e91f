"""The queue ``db``: jobs in SQLite, PostgreSQL or MariaDB, fair between tenants, in transactions of the application."""

from __future__ import annotations

from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.embedding import WorkerMiddleware, embedded, lifespan
from tenantjobs_db.outbox import relay
from tenantjobs_db.settings import DatabaseSettings

__all__ = ["DatabaseAdapter", "DatabaseSettings", "WorkerMiddleware", "embedded", "lifespan", "relay"]

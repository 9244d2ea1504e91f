"""What the leak sentinel sees of SQLAlchemy: statements, rows, and what a job leaves behind on connections."""

from __future__ import annotations

from tenantjobs_sqlalchemy.sentinel.detector import DatabaseDetector

__all__ = ["DatabaseDetector"]

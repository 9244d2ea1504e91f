"""Carriage for native Celery tasks: ``install(app)``, and each of them runs in the scope that it was sent in."""

from __future__ import annotations

from tenantjobs_celery.adapter import CeleryAdapter
from tenantjobs_celery.header import headers
from tenantjobs_celery.installation import install

__all__ = ["CeleryAdapter", "headers", "install"]

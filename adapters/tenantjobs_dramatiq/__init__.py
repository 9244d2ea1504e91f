"""Carriage for native Dramatiq actors: ``install(broker)``, and each runs in the scope that it was sent in."""

from __future__ import annotations

from tenantjobs_dramatiq.installation import install
from tenantjobs_dramatiq.middleware import TenantRefused
from tenantjobs_dramatiq.publishing import options

__all__ = ["TenantRefused", "install", "options"]

"""Dramatiq: the adapter ``dramatiq``, and ``install()``, by which native actors run in the scope of their sender."""

from __future__ import annotations

from tenantjobs_dramatiq.adapter import DramatiqAdapter
from tenantjobs_dramatiq.installation import install
from tenantjobs_dramatiq.middleware import TenantRefused
from tenantjobs_dramatiq.publishing import options

__all__ = ["DramatiqAdapter", "TenantRefused", "install", "options"]

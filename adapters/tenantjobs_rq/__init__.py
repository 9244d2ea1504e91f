"""RQ: the adapter ``rq``, and ``install()``, by which native jobs run in the scope that they were enqueued in."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenantjobs_rq.adapter import RqAdapter
    from tenantjobs_rq.header import meta
    from tenantjobs_rq.installation import install
    from tenantjobs_rq.tenant_job import TenantJob

__all__ = ["RqAdapter", "TenantJob", "install", "meta"]

_HOMES = {"RqAdapter": "adapter", "TenantJob": "tenant_job", "install": "installation", "meta": "header"}


def __getattr__(name: str) -> Any:
    # On first use: to name TenantJob is to have this process covered, and an adapter's user has not asked for that.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

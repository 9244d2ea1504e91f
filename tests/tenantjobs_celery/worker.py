"""What ``celery -A`` is pointed at."""

from __future__ import annotations

import os
import sys
from functools import wraps
from typing import Any

from celery.app import trace
from celery.worker import request

import tenantjobs
from tenantjobs.current import Current
from tests.tenantjobs_celery.shop import VARIABLES, Shop


def locate_tenant(tenant_id: str) -> str | None:
    if tenant_id == "down":
        raise ConnectionError("no route to the store")
    return None if tenant_id == "gone" else tenant_id


tenantjobs.configure(tenant_locator=locate_tenant)
given: Any = [os.environ[name] for name in VARIABLES]
shop = Shop(*given)
shop.app.set_current()
shop.app.set_default()
app = shop.app
if "beat" in sys.argv:
    with Current.set(tenant_id="acme"):
        app.add_periodic_task(0.5, shop.task("noted").s("by beat"), name="in a scope")
    app.add_periodic_task(0.5, shop.task("forbidden").s(), name="without one")

run_message: Any = trace.fast_trace_task


@wraps(run_message)
def run_watched(*args: Any, **kwargs: Any) -> Any:
    """What every pool is told to run: outside of it nothing is in force, in whatever process, thread or greenlet."""
    shop.look_for_residue()
    try:
        return run_message(*args, **kwargs)
    finally:
        shop.look_for_residue()


trace.fast_trace_task = request.fast_trace_task = run_watched

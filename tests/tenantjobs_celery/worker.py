"""What ``celery -A`` is pointed at."""

from __future__ import annotations

import os
from functools import wraps
from typing import Any

from celery.app import trace
from celery.worker import request

from tests.tenantjobs_celery.shop import Shop

shop = Shop(os.environ["SHOP_NAME"], os.environ["SHOP_BROKER"], os.environ["SHOP_RESULTS"], os.environ["SHOP_POOL"])
shop.app.set_current()
shop.app.set_default()
app = shop.app

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

"""The Celery app of the contract: what is stored in Redis begins with the name of the test."""

from __future__ import annotations

import os

from celery import Celery

broker, name = os.environ["CONTRACT_BROKER"], os.environ["CONTRACT_NAME"]
app = Celery(name, broker=broker, set_as_current=False)
app.conf.update(
    broker_transport_options=(
        # Kombu looks for what dead workers left when a worker starts, and then not for 100 seconds: what was
        # received just before has to be due by then.
        {"global_keyprefix": f"{name}:", "visibility_timeout": 0.1} if broker.startswith("redis") else {}
    ),
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
)

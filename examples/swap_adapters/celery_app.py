"""The Celery app that the section [celery] names."""

from __future__ import annotations

from celery import Celery

app = Celery("shop", broker="amqp://guest:guest@localhost:5672//")

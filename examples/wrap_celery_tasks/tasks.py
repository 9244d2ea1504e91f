"""The tasks of a shop, as they have been for years: plain Celery."""

from __future__ import annotations

from celery import Celery

import books

app = Celery("shop", broker="amqp://guest:guest@localhost:5672//")
app.conf.task_default_queue = "wrap-celery-tasks"


@app.task
def charge(order: int) -> int:
    books.write(f"charged order {order}")
    return order


@app.task(bind=True, default_retry_delay=1)
def send_invoice(self, order: int) -> None:
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("the mail server is busy"))
    books.write(f"sent the invoice of order {order}")

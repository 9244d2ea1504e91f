"""The jobs of the application. Nothing here says which queue performs them."""

from __future__ import annotations

from pathlib import Path

import tenantjobs
from tenantjobs import Current, current_job, job, retry_on

tenantjobs.configure(tenant_locator=str)  # what a tenant is; elsewhere tenant=Account


@job(queue="invoices", policies=[retry_on(ConnectionError, wait=1, attempts=3)])
def send_invoice(number: int) -> None:
    running = current_job()
    if number == 2 and running is not None and running.attempt == 1:
        raise ConnectionError("the mail server is busy")
    with Path("sent.txt").open("a") as sent:
        sent.write(f"invoice {number} for {Current.tenant_id}\n")

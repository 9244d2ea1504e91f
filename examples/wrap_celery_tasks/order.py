"""What the web process does for a request, whose tenant it knows: `python order.py acme 7`."""

from __future__ import annotations

import sys

from tasks import charge, send_invoice
from tenantjobs import Current


def order(tenant: str, number: int) -> None:
    with Current.set(tenant_id=tenant):
        (charge.s(number) | send_invoice.s()).delay()


if __name__ == "__main__":
    order(sys.argv[1], int(sys.argv[2]))

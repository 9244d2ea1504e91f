"""What enqueues: two tenants, two invoices each."""

from __future__ import annotations

from jobs import send_invoice
from tenantjobs import Current, perform_all_later

for tenant in ("acme", "globex"):
    with Current.set(tenant_id=tenant):
        perform_all_later([send_invoice.call(1), send_invoice.call(2)])

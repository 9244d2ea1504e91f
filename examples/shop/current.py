"""Who and what is being served: it travels with every job, and is restored before the job runs."""

from __future__ import annotations

import tenantjobs
from examples.shop.models import Account


class Current(tenantjobs.Current):
    """The account, and the request in which it all began."""

    tenant: Account | None = None
    request_id: str | None = None

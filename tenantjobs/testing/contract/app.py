"""What the workers of the kit import: its jobs, and who is a tenant."""

from __future__ import annotations

import tenantjobs
from tenantjobs.testing.contract.jobs import locate_tenant

tenantjobs.configure(tenant_locator=locate_tenant)

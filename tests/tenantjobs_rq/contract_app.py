"""What the workers of the kit import for RQ: its jobs, who is a tenant, and the job that only an alarm can stop."""

from __future__ import annotations

from tenantjobs.testing.contract import app as app
from tests.tenantjobs_rq import blocking as blocking

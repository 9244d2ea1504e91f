"""The hooks that come to mind first: what the tests of the message paths are there to catch."""

from __future__ import annotations

from typing import Any

from rq.job import Job

from tenantjobs.current import Current


class NaiveJob(Job):
    """The tenant in the meta, set around the function where there is one."""

    def perform(self) -> Any:
        tenant_id = self.meta.get("tenant_id")
        if tenant_id is None:
            return super().perform()
        with Current.set(tenant_id=tenant_id):
            return super().perform()


class LeakingJob(Job):
    """The tenant is set at the start, and left to the next one to set."""

    def perform(self) -> Any:
        tenant_id = self.meta.get("tenant_id")
        if tenant_id is not None:
            Current.switch("the next one sets it", tenant_id=tenant_id).__enter__()
        return super().perform()

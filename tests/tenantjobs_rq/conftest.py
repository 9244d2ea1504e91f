from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rq.group
import rq.job
import rq.queue
import rq.registry
import rq.worker

import tenantjobs_rq
from tenantjobs.current import Current
from tenantjobs_rq import policy

COVERED = [rq.job.Job, rq.queue.Queue, rq.group.Group, rq.registry.StartedJobRegistry, *rq.worker.Worker.__mro__[:-1]]
try:
    import rq.cron

    COVERED += [rq.cron, rq.cron.CronScheduler]  # type: ignore[list-item]
except ModuleNotFoundError:
    pass


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """``tenantjobs_rq.install``; afterwards RQ is what it was."""
    before = [(owner, dict(vars(owner))) for owner in COVERED]
    monkeypatch.setattr(policy, "_declared", None)
    yield tenantjobs_rq.install
    for owner, attributes in before:
        for name, value in attributes.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


@pytest.fixture
def acme() -> Any:
    return Current.set(tenant_id="acme")

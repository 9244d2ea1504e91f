from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery.worker import state

from tenantjobs import Current, definition, job, step, testing
from tenantjobs.testing import enqueued_jobs
from tenantjobs_celery.performing import perform
from tests.tenantjobs.enqueued import enqueued


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    before = dict(definition.registry)
    with testing.override(adapter="test"), Current.set(tenant_id="acme"):
        yield
    definition.registry.clear()
    definition.registry.update(before)


# The exit code of a warm shutdown is 0, which is no False.
@pytest.mark.parity("1a.31")
@pytest.mark.parametrize(("asked", "waiting"), [(0, 1), (True, 1), (None, 0), (False, 0)])
def test_a_job_with_steps_is_interrupted_where_the_worker_shuts_down_in_its_process(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, waiting: int
) -> None:
    @job
    def count() -> None:
        for cursor in step("count", start=0):
            if cursor.value == 0:
                cursor.advance()

    monkeypatch.setattr(state, "should_stop", asked)
    perform(enqueued(count.perform_later).decode())

    assert len(enqueued_jobs()) == waiting

"""Jobs with steps: what is done stays done, and what was interrupted goes on where it was."""

from __future__ import annotations

import pytest

from tenantjobs.current import Current
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Resuming(Harness):
    def test_completed_steps_are_not_repeated_after_a_retry(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.stepwise.set(queue=self.queue).perform_later()

        self.start()

        assert [(effect.what, effect.attempt) for effect in self.performed(3)] == [
            ("first", 1),
            ("second", 1),
            ("second", 2),
        ]

    def test_a_job_that_is_interrupted_at_a_stop_resumes_at_its_cursor(self) -> None:
        if self.in_process or not self.interrupts:
            pytest.skip("this queue does not declare that its workers interrupt jobs when they stop")
        with Current.set(tenant_id="acme"):
            jobs.counted.set(queue=self.queue).perform_later()
        worker = self.start()
        assert worker is not None
        self.performed(1, of="started")

        self.workers.remove(worker)
        worker.terminate()
        assert worker.wait(self.patience) == 0
        self.start()
        (resumed,) = self.performed(1, of="resumed")

        assert resumed.attempt == 1
        assert resumed.value > 0

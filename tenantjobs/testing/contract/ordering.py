"""When a job runs, where, before which others, and whether it can be taken back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tenantjobs.current import Current
from tenantjobs.errors import UnsupportedCapability
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Ordering(Harness):
    def test_a_job_waits_as_long_as_it_is_told_to(self) -> None:
        self._require("delay")
        self.start()
        with Current.set(tenant_id="acme"):
            jobs.note.set(queue=self.queue).perform_later("the worker is up")
            self.performed(1)
            began = time.time()
            jobs.note.set(queue=self.queue, wait=2).perform_later("later")
            jobs.note.set(queue=self.queue).perform_later("now")

        _, now, later = self.performed(3)

        assert (now.value, later.value) == ("now", "later")
        assert later.at - began >= 1.9

    def test_a_job_waits_until_the_moment_that_it_is_told(self) -> None:
        self._require("delay")
        moment = datetime.now(UTC) + timedelta(seconds=2)
        with Current.set(tenant_id="acme"):
            jobs.note.set(queue=self.queue, wait_until=moment).perform_later("later")

        self.start()
        (later,) = self.performed(1)

        assert later.at >= moment.timestamp() - 0.1
        assert later.tenant_id == "acme"

    def test_a_lower_priority_number_runs_sooner(self) -> None:
        self._require("priority")
        if self.in_process:
            pytest.skip("nothing waits where a job is performed at the call")
        with Current.set(tenant_id="acme"):
            for priority in (5, 1, 10, 0, 2):
                jobs.note.set(queue=self.queue, priority=priority).perform_later(priority)

        self.start()

        assert [effect.value for effect in self.performed(5)] == [0, 1, 2, 5, 10]

    def test_a_worker_serves_the_queues_that_it_was_given(self) -> None:
        if self.in_process:
            pytest.skip("there is no worker to be given queues")
        self._require("queues")
        other = f"{self.queue}-other"
        with Current.set(tenant_id="acme"):
            jobs.note.set(queue=self.queue).perform_later("here")
            jobs.note.set(queue=other).perform_later("there")

        self.start(queue=other)
        assert [effect.value for effect in self.performed(1)] == ["there"]
        self.stop()
        self.start()

        assert [(effect.value, effect.queue) for effect in self.performed(2)] == [
            ("there", other),
            ("here", self.queue),
        ]

    def test_a_job_that_was_cancelled_does_not_run(self) -> None:
        if self.in_process:
            pytest.skip("a job at the call is over before anybody can take it back")
        with Current.set(tenant_id="acme"):
            handle = jobs.note.set(queue=self.queue).perform_later("cancelled")
            if not self.configured.capabilities.cancel:
                with pytest.raises(UnsupportedCapability, match="cancel"):
                    handle.cancel()
                return
            assert handle.cancel() is True
            jobs.note.set(queue=self.queue).perform_later("kept")

        self.start()

        assert [effect.value for effect in self.performed(1)] == ["kept"]

    def _require(self, capability: str) -> None:
        if not getattr(self.configured.capabilities, capability):
            pytest.skip(f"this queue does not declare {capability!r}")

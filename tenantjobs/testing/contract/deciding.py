"""What becomes of a job that raises, that may not be run, or whose tenant is gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tenantjobs.adapter import Capabilities
from tenantjobs.current import Current
from tenantjobs.envelope import Envelope, new_id
from tenantjobs.errors import EnvelopeError, TenantGone, UnsupportedCapability
from tenantjobs.jobs import JobFunction
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Deciding(Harness):
    def test_a_retry_keeps_id_tenant_and_arguments_and_counts_attempts(self) -> None:
        with Current.set(tenant_id="acme"):
            handle = jobs.flaky.set(queue=self.queue).perform_later(2, ["same", 1])

        self.start()
        effects = self.performed(3)

        assert [effect.attempt for effect in effects] == [1, 2, 3]
        assert {(effect.job_id, effect.tenant_id, str(effect.value)) for effect in effects} == {
            (handle.job_id, "acme", "['same', 1]")
        }

    def test_a_retry_waits(self) -> None:
        if not self.configured.capabilities.delay:
            pytest.skip("retries of this queue do not wait, since it declares no delay")
        with Current.set(tenant_id="acme"):
            jobs.patient.set(queue=self.queue).perform_later()

        self.start()
        first, second = self.performed(2)

        assert second.at - first.at >= 1.4

    def test_a_job_that_asks_for_another_queue_is_performed_there(self) -> None:
        if self.in_process:
            pytest.skip("there is no worker to be given queues")
        other = f"{self.queue}-other"
        with Current.set(tenant_id="acme"):
            handle = jobs.moved.set(queue=self.queue).perform_later(other)

        self.start()
        self.performed(1)
        self.stop()
        self.start(queue=other)
        effects = self.performed(2)

        assert [(effect.queue, effect.attempt) for effect in effects] == [(self.queue, 1), (other, 2)]
        assert {(effect.job_id, effect.tenant_id) for effect in effects} == {(handle.job_id, "acme")}

    def test_a_retry_has_the_priority_that_is_declared_for_it_or_is_refused_at_the_call(self) -> None:
        with Current.set(tenant_id="acme"):
            if not self.configured.capabilities.priority:
                with pytest.raises(UnsupportedCapability, match="priority"):
                    jobs.hurried.set(queue=self.queue).perform_later()
                return
            jobs.hurried.set(queue=self.queue).perform_later()

        self.start()

        assert [effect.value for effect in self.performed(2)] == [0, 3]

    def test_an_interruption_charges_no_attempt(self) -> None:
        if not self.gives_back:
            pytest.skip("this queue does not declare that it gives back what is interrupted")
        with Current.set(tenant_id="acme"):
            jobs.interrupted.set(queue=self.queue).perform_later()

        self.start()

        assert [(effect.attempt, effect.tenant_id) for effect in self.performed(2)] == [(1, "acme")] * 2

    @pytest.mark.parametrize("slow", [jobs.slow, jobs.aslow], ids=["sync", "async"])
    def test_a_job_that_runs_too_long_is_stopped_and_can_be_retried(self, slow: JobFunction[[], Any]) -> None:
        with Current.set(tenant_id="acme"):
            slow.set(queue=self.queue).perform_later()

        self.start()

        assert [effect.attempt for effect in self.performed(2)] == [1, 2]

    def test_a_discarded_job_calls_its_handler_in_its_scope_and_is_not_run_again(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.discarded.set(queue=self.queue).perform_later()

        self.start()
        run, handler = self.performed(2)

        assert (run.what, handler.what, handler.value) == ("discarded", "handler", "not worth it")
        assert handler.tenant_id == "acme"

    def test_a_job_out_of_attempts_calls_its_handler(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.exhausted.set(queue=self.queue).perform_later()

        self.start()
        effects = self.performed(4)

        assert [effect.what for effect in effects] == ["exhausted"] * 3 + ["handler"]

    def test_a_failure_is_visible_and_is_not_run_again(self) -> None:
        with Current.set(tenant_id="acme"):
            if self.in_process:
                with pytest.raises(RuntimeError, match="the contract asks for this"):
                    jobs.failing.set(queue=self.queue).perform_later()
                return
            handle = jobs.failing.set(queue=self.queue).perform_later()

        self.start()
        self.failed(handle.job_id, "the contract asks for this failure")
        self.performed(1)

    def test_a_tenant_that_is_gone_stops_the_job_visibly(self) -> None:
        with Current.set(tenant_id="gone"):
            if self.in_process:
                with pytest.raises(TenantGone):
                    jobs.note.set(queue=self.queue).perform_later("never")
            else:
                handle = jobs.note.set(queue=self.queue).perform_later("never")
                self.start()
                self.failed(handle.job_id, "TenantGone")

        self.nothing_but_a_marker_runs()

    def test_a_job_that_nobody_knows_is_not_run_and_stops_no_other(self) -> None:
        self._deliver(_envelope(self.queue, name="contract.nobody"))

        self.nothing_but_a_marker_runs()

    def test_an_envelope_of_another_version_is_not_run_and_stops_no_other(self) -> None:
        self._deliver(_envelope(self.queue, version=999))

        self.nothing_but_a_marker_runs()

    def test_garbage_is_not_run_and_stops_no_other(self) -> None:
        self._deliver(_envelope(self.queue, kind=Garbage))

        self.nothing_but_a_marker_runs()

    @pytest.mark.parametrize("option", ["delay", "priority"])
    def test_an_option_that_is_not_declared_is_refused_at_the_call(self, option: str) -> None:
        if getattr(self.configured.capabilities, option):
            pytest.skip(f"this queue declares {option!r}")
        given: dict[str, Any] = {"delay": {"wait": 60}, "priority": {"priority": 5}}[option]
        with Current.set(tenant_id="acme"), pytest.raises(UnsupportedCapability, match=option):
            jobs.note.set(queue=self.queue, **given).perform_later("never")

        self.nothing_but_a_marker_runs()

    def test_its_capabilities_are_declared(self) -> None:
        assert isinstance(self.configured.capabilities, Capabilities)

    def _deliver(self, envelope: Envelope) -> None:
        if self.in_process:
            with pytest.raises(EnvelopeError):
                self.configured.enqueue(envelope)
        else:
            self.configured.enqueue(envelope)


class Garbage(Envelope, frozen=True, kw_only=True):
    """An envelope that reaches the worker as something else."""

    def encode(self) -> bytes:
        return b'{"this": "is no envelope'


def _envelope(
    queue: str, *, name: str = "contract.note", version: int = 1, kind: type[Envelope] = Envelope
) -> Envelope:
    return kind(
        version=version,
        id=new_id(),
        name=name,
        queue=queue,
        context=msgspec.Raw(Current.capture().encode()),
        arguments=msgspec.Raw(b"[[],{}]"),
        enqueued_at=datetime.now(UTC),
    )

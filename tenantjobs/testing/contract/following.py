"""What follows a job: the next one of its chain, and the callbacks of its batch."""

from __future__ import annotations

import pytest

from tenantjobs.blocks import batch
from tenantjobs.call import Call
from tenantjobs.chains import chain
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError
from tenantjobs.jobs import perform_all_later
from tenantjobs.membership import batches_for
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Following(Harness):
    def test_the_jobs_of_a_chain_run_one_after_another_up_to_one_that_fails(self) -> None:
        with Current.set(tenant_id="acme"):
            chain(
                jobs.note.set(queue=self.queue).call(1),
                jobs.flaky.set(queue=self.queue).call(1, 2),
                jobs.note.set(queue=self.queue).call(3),
                jobs.failing.set(queue=self.queue).call(),
                jobs.note.set(queue=self.queue).call("never"),
            ).perform_later()

        self.start()
        self.until(lambda: self.effects(of="failing"), "the job that fails")
        with Current.set(tenant_id="acme"):
            jobs.note.set(queue=self.queue).perform_later("after it")
        effects = self.performed(6)

        assert [effect.value for effect in effects] == [1, 2, 2, 3, None, "after it"]
        assert {effect.tenant_id for effect in effects} == {"acme"}

    def test_a_batch_calls_back_once_when_all_of_its_jobs_have_finished(self) -> None:
        self._require_batches()
        success, failure, finish = self._callbacks()
        with (
            Current.set(tenant_id="acme"),
            batch(on_success=success, on_failure=failure, on_finish=finish, properties={"file": "a"}),
        ):
            perform_all_later([jobs.note.set(queue=self.queue).call(number) for number in range(3)])
            jobs.flaky.set(queue=self.queue).perform_later(1, "flaky")

        self.start()
        effects = self.performed(7)

        assert sorted(str(effect.value) for effect in effects[:5]) == ["0", "1", "2", "flaky", "flaky"]
        assert sorted(effect.value for effect in effects[5:]) == [["finish", "a", 4, 0], ["success", "a", 4, 0]]
        assert {effect.tenant_id for effect in effects} == {"acme"}

    def test_it_calls_back_once_for_its_first_failure_and_once_when_all_have_ended(self) -> None:
        self._require_batches()
        success, failure, finish = self._callbacks()
        with (
            Current.set(tenant_id="acme"),
            batch(on_success=success, on_failure=failure, on_finish=finish, properties={"file": "b"}),
        ):
            for _ in range(2):
                jobs.discarded.set(queue=self.queue).perform_later()
            jobs.note.set(queue=self.queue).perform_later(1)

        self.start()
        called = self.performed(2, of="called_back")

        assert sorted(effect.value[0] for effect in called) == ["failure", "finish"]

    def _callbacks(self) -> list[Call]:
        return [jobs.called_back.set(queue=self.queue).call(name) for name in ("success", "failure", "finish")]

    def _require_batches(self) -> None:
        try:
            batches_for("the contract makes a batch")
        except ConfigurationError:
            with pytest.raises(ConfigurationError, match="no ledger"):
                batch()
            pytest.skip("this queue has no ledger for batches: a section [db] among the settings gives it one")

"""What runs around a job, at the caller and in the worker; and what is told of each of many jobs."""

from __future__ import annotations

from tenantjobs.current import Current
from tenantjobs.jobs import perform_all_later
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Hooking(Harness):
    def test_hooks_run_where_the_job_is_enqueued_and_where_it_is_performed(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.hooked.set(queue=self.queue).perform_later(wanted="hooked")

        self.start()
        effects = self.performed(4)

        assert [effect.what for effect in effects] == ["before enqueue of hooked", "around in", "hooked", "around out"]
        assert {effect.tenant_id for effect in effects} == {"acme"}

    def test_a_job_whose_hook_aborts_it_is_over(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.hooked.set(queue=self.queue).perform_later(wanted="performed")
            jobs.note.set(queue=self.queue).perform_later("the next one")

        self.start()

        assert [effect.what for effect in self.performed(2)] == ["before enqueue of performed", "note"]

    def test_calls_made_for_many_tenants_are_enqueued_at_once_each_with_its_outcome(self) -> None:
        calls = []
        for tenant_id in ("acme", "globex"):
            with Current.set(tenant_id=tenant_id):
                calls += [jobs.note.set(queue=self.queue).call(tenant_id)]
        handles = perform_all_later(calls)

        self.start()

        assert [handle.enqueued for handle in handles] == [True, True]
        assert {(each.job_id, each.tenant_id, each.value) for each in self.performed(2)} == {
            (handles[0].job_id, "acme", "acme"),
            (handles[1].job_id, "globex", "globex"),
        }

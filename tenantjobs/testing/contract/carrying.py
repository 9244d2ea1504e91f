"""What is enqueued is what is performed: once, elsewhere, for the same tenant, with the same arguments."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tenantjobs.current import Current
from tenantjobs.errors import NoResult, SerializationError, TenantMissing, UnsupportedCapability
from tenantjobs.handle import Handle
from tenantjobs.jobs import perform_all_later
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Carrying(Harness):
    def test_a_job_is_performed_once_with_its_tenant_in_another_process(self) -> None:
        with Current.set(tenant_id="acme"):
            handle = jobs.note.set(queue=self.queue).perform_later("hello")

        self.start()
        (effect,) = self.performed(1)

        assert (effect.job_id, effect.value, effect.attempt) == (handle.job_id, "hello", 1)
        assert (effect.scope, effect.tenant_id, effect.queue) == ("tenant", "acme", self.queue)
        assert handle.enqueued is True
        assert (effect.pid == os.getpid()) is self.in_process

    def test_a_job_class_is_performed_with_its_keywords(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.NotedByClass.set(queue=self.queue).perform_later(1, second="two")

        self.start()

        assert self.performed(1)[0].value == [1, "two"]

    def test_a_method_is_performed_later_on_what_it_was_called_on(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.Point(1, 2).draw_later.set(queue=self.queue)("here")

        self.start()
        (effect,) = self.performed(1)

        assert (effect.what, effect.value, effect.tenant_id) == ("drawn", [1, 2, "here"], "acme")

    def test_arguments_of_every_type_arrive_with_their_exact_type(self) -> None:
        deep: list[Any] = [None, True, 1, 2**70, 1.5, "ä\0\n", b"\x00\xff", (1, (2,)), {1, 2}, {"a": {1: b"x"}}, []]
        moment = datetime(2026, 2, 28, 12, 30, 0, 123456, tzinfo=UTC)
        given = (
            deep,
            moment,
            date(2026, 2, 28),
            timedelta(days=-1, microseconds=1),
            Decimal("0.10"),
            UUID(int=7),
            jobs.Level.HIGH,
            jobs.Point(1, 2),
        )
        with Current.set(tenant_id="acme"):
            jobs.typed.set(queue=self.queue).perform_later(*given)

        self.start()

        assert self.performed(1)[0].value == jobs.described(list(given))

    def test_the_system_scope_and_attributes_travel(self) -> None:
        with Current.system("the contract"), jobs.ContractCurrent.set(contract_request="r-1"):
            jobs.with_attributes.set(queue=self.queue).perform_later()
        jobs.of_the_system.set(queue=self.queue).perform_later()

        self.start()
        effects = {effect.what: effect for effect in self.performed(2)}

        assert (effects["with_attributes"].scope, effects["with_attributes"].value) == ("system", "r-1")
        assert effects["of_the_system"].scope == "system"

    def test_each_of_many_jobs_in_one_call_is_performed_for_its_own_tenant(self) -> None:
        calls = [jobs.note.set(queue=self.queue).call(number) for number in range(20)]
        with Current.set(tenant_id="acme"):
            handles = perform_all_later(calls[:10])
        with Current.set(tenant_id="globex"):
            handles += perform_all_later(calls[10:])

        self.start(threads=2)
        effects = {effect.job_id: (effect.value, effect.tenant_id) for effect in self.performed(20)}

        tenants = ["acme"] * 10 + ["globex"] * 10
        assert effects == {handle.job_id: (i, tenants[i]) for i, handle in enumerate(handles)}

    def test_an_async_job_is_performed_and_enqueued(self) -> None:
        if self.in_process:
            pytest.skip("a job at the call needs no second way of enqueuing")

        async def enqueue() -> None:
            with Current.set(tenant_id="acme"):
                await jobs.anote.set(queue=self.queue).aperform_later(1)

        asyncio.run(enqueue())
        self.start()
        (effect,) = self.performed(1)

        assert (effect.what, effect.tenant_id) == ("anote", "acme")

    def test_a_job_that_is_enqueued_inside_a_job_runs_for_the_same_tenant(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.nesting.set(queue=self.queue).perform_later(self.queue)

        self.start()
        effects = self.performed(2)

        assert [(effect.what, effect.tenant_id) for effect in effects] == [("nesting", "acme"), ("note", "acme")]

    def test_a_required_tenant_that_is_missing_is_refused_at_the_caller(self) -> None:
        with pytest.raises(TenantMissing, match=r"contract\.note"):
            jobs.note.set(queue=self.queue).perform_later("never")

        self.nothing_but_a_marker_runs()

    def test_a_job_that_is_too_large_is_refused_at_the_caller(self) -> None:
        with Current.set(tenant_id="acme"), pytest.raises(SerializationError, match="limit"):
            jobs.note.set(queue=self.queue).perform_later("x" * 1_100_000)

        self.nothing_but_a_marker_runs()

    @pytest.mark.tenantjobs_leaks
    def test_nothing_of_a_job_is_left_to_the_next_one_in_the_same_worker(self) -> None:
        with Current.set(tenant_id="acme"):
            jobs.leaving.set(queue=self.queue).perform_later()
        self.start()
        self.performed(1)

        jobs.optional.set(queue=self.queue).perform_later()
        effect = self.performed(2)[1]

        assert (effect.what, effect.scope, effect.tenant_id) == ("optional", "unset", None)

    def test_what_a_job_returned_can_be_read_or_that_is_refused_at_the_call(self) -> None:
        with Current.set(tenant_id="acme"):
            if self.configured.capabilities.results:
                handle = jobs.answering.set(queue=self.queue).perform_later([1, "two", (3,)])
                self.start()
                self.until(lambda: _has_result(handle), "the result")

                assert handle.result() == [1, "two", (3,)]
            else:
                with pytest.raises(UnsupportedCapability, match="keep_result"):
                    jobs.answering.set(queue=self.queue).perform_later("never")
                assert self.effects() == []


def _has_result(handle: Handle) -> bool:
    try:
        handle.result()
    except NoResult:
        return False
    return True

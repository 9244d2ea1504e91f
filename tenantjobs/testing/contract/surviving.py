"""What holds when things end: transactions, workers, deliveries that come twice."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantjobs import idempotency, limits, uniqueness
from tenantjobs.adapter import keeper
from tenantjobs.bookmarks import HasBookmarks
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError
from tenantjobs.handle import Handle
from tenantjobs.jobs import perform_all_later
from tenantjobs.message import Message
from tenantjobs.testing.contract import jobs
from tenantjobs.testing.contract.harness import Harness


class Surviving(Harness):
    def test_a_commit_sends_the_jobs_of_a_transaction(self) -> None:
        self._transact("commit")

        self.start()

        assert [(effect.value, effect.tenant_id) for effect in self.performed(1)] == [("commit", "acme")]

    def test_a_rollback_drops_the_jobs_of_a_transaction(self) -> None:
        self._transact("rollback")

        self.nothing_but_a_marker_runs()

    def test_an_idempotent_job_that_is_delivered_twice_has_one_effect(self) -> None:
        try:
            idempotency.ledger_for("the contract wants a ledger")
        except ConfigurationError:
            pytest.skip("this queue has no ledger of keys: a section [db] or [redis] among the settings gives it one")
        with Current.set(tenant_id="acme"):
            call = jobs.once_only.set(queue=self.queue).call(7)
            envelope = Message(call, self.configured).seal()
            self.configured.enqueue(envelope)
            self.configured.enqueue(envelope)
            jobs.once_only.set(queue=self.queue).perform_later(7)
            jobs.once_only.set(queue=self.queue).perform_later(8)

        self.start()

        assert [effect.value for effect in self.performed(2)] == [7, 8]

    def test_a_unique_job_is_let_in_again_when_the_one_before_is_done(self) -> None:
        self._want_locks()
        with Current.set(tenant_id="acme"):
            job = jobs.only_one.set(queue=self.queue)
            before = [job.perform_later(number).enqueued for number in (7, 7, 8)]
        self.start()
        self.performed(2)
        again = self._let_in(lambda: job.perform_later(7))

        assert before == [True, False, True]
        assert [effect.job_id for effect in self.performed(3)].count(again.job_id) == 1

    def test_the_lock_of_a_job_whose_worker_is_killed_ends(self) -> None:
        self._want_locks()
        if self.in_process:
            pytest.skip("there is no worker to kill")
        with Current.set(tenant_id="acme"):
            jobs.held_alone.set(queue=self.queue).perform_later()
        worker = self.start()
        assert worker is not None
        self.performed(1, of="started")

        self.kill(worker)
        Path(self.folder / "release").touch()
        another = self._let_in(lambda: jobs.held_alone.set(queue=self.queue).perform_later())
        self.start()

        self.until(lambda: another.job_id in [each.job_id for each in self.effects(of="finished")], "the other one")

    def test_no_more_jobs_of_a_limit_run_at_once_than_may_and_all_of_them_run(self) -> None:
        self._want_permits()
        together = 1 if self.in_process else 2
        for tenant in ("acme", "globex"):
            with Current.set(tenant_id=tenant):
                job = jobs.limited.set(queue=self.queue)
                perform_all_later([job.call(number, together=together) for number in range(1, 6)])
        self.start(threads=4)
        self.start(threads=4)
        self.performed(10, of="finished")

        assert [self._at_once("acme"), self._at_once("globex")] == [together, together]

    def test_a_limited_job_whose_worker_is_killed_keeps_others_waiting_no_longer_than_its_lease(self) -> None:
        self._want_permits()
        if self.in_process or not self.survives_kill:
            pytest.skip("this queue does not declare that it survives a kill")
        with Current.set(tenant_id="acme"):
            for _ in range(2):
                jobs.limited.set(queue=self.queue).perform_later(0)
        worker = self.start(threads=2)
        assert worker is not None
        self.performed(2, of="started")
        with Current.set(tenant_id="acme"):
            jobs.limited.set(queue=self.queue).perform_later(1)

        self.kill(worker)
        killed_at = time.time()
        Path(self.folder / "release").touch()
        self.start(threads=2)
        self.performed(3, of="finished")

        spans = self._spans("acme", ended_by=killed_at)
        assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) <= 2

    def test_a_worker_that_is_stopped_finishes_what_runs(self) -> None:
        if self.in_process:
            pytest.skip("there is no worker to stop")
        with Current.set(tenant_id="acme"):
            jobs.held.set(queue=self.queue).perform_later()
        worker = self.start()
        assert worker is not None
        self.performed(1, of="started")

        worker.terminate()
        (self.folder / "release").touch()

        assert worker.wait(self.patience) == 0
        assert [effect.what for effect in self.effects()] == ["started", "finished"]

    def test_a_job_whose_worker_is_killed_is_performed_by_another_one(self) -> None:
        if self.in_process or not self.survives_kill:
            pytest.skip("this queue does not declare that it survives a kill")
        with Current.set(tenant_id="acme"):
            handle = jobs.held.set(queue=self.queue).perform_later()
        worker = self.start()
        assert worker is not None
        self.performed(1, of="started")

        self.kill(worker)
        Path(self.folder / "release").touch()
        self.start()
        (finished,) = self.performed(1, of="finished")

        assert (finished.job_id, finished.tenant_id) == (handle.job_id, "acme")

    def test_a_worker_killed_in_the_middle_of_a_jobs_steps_goes_on_after_the_last_finished_step(self) -> None:
        if self.in_process or not self.survives_kill:
            pytest.skip("this queue does not declare that it survives a kill")
        self._want_bookmarks()
        with Current.set(tenant_id="acme"):
            handle = jobs.killed_in_steps.set(queue=self.queue).perform_later()
        worker = self.start()
        assert worker is not None
        self.performed(1, of="second")

        self.kill(worker)
        Path(self.folder / "release").touch()
        self.start()
        (finished,) = self.performed(1, of="finished")

        assert [effect.what for effect in self.effects()] == ["first", "second", "second", "finished"]
        assert (finished.job_id, finished.tenant_id) == (handle.job_id, "acme")

    def _want_bookmarks(self) -> None:
        if not isinstance(keeper(HasBookmarks), HasBookmarks):
            pytest.skip("this queue has no ledger for bookmarks: a section [db] among the settings gives it one")

    def _want_locks(self) -> None:
        try:
            uniqueness.locks_for("the contract wants locks")
        except ConfigurationError:
            pytest.skip("this queue has no ledger for locks: a section [db] or [redis] among the settings gives it one")

    def _want_permits(self) -> None:
        try:
            limits.permits_for("the contract wants permits")
        except ConfigurationError:
            pytest.skip("this queue has no ledger for permits: a section [db] among the settings gives it one")

    def _at_once(self, tenant: str) -> int:
        spans = self._spans(tenant)
        return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)

    def _spans(self, tenant: str, ended_by: float = 0.0) -> list[tuple[float, float]]:
        """When executions have started and ended; by ``ended_by`` those whose worker was killed."""
        spans = []
        open_since: dict[tuple[str | None, int], float] = {}
        for effect in self.effects():
            if effect.tenant_id == tenant and effect.what == "started":
                open_since[effect.job_id, effect.pid] = effect.at
            elif effect.tenant_id == tenant and effect.what == "finished":
                spans.append((open_since.pop((effect.job_id, effect.pid)), effect.at))
        return spans + [(since, ended_by) for since in open_since.values()]

    def _let_in(self, enqueue: Callable[[], Handle]) -> Handle:
        """Enqueue until nobody else has the key."""
        handles = []

        def is_let_in() -> bool:
            with Current.set(tenant_id="acme"):
                handles.append(enqueue())
            return handles[-1].enqueued is True

        self.until(is_let_in, "the end of a lock")
        return handles[-1]

    def _transact(self, ending: str) -> None:
        pytest.importorskip("tenantjobs_sqlalchemy")
        given = {
            "TENANTJOBS_CONFIG": str(self.folder / "tenantjobs.toml"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command = [sys.executable, "-m", "tenantjobs.testing.contract.transacting", ending, self.queue]
        log = self.folder / "transacting.log"
        assert self.launch(command, {**os.environ, **given}, log).wait(self.patience) == 0, log.read_text()

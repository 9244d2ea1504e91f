"""What holds when things end: transactions, workers, deliveries that come twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenantjobs import idempotency
from tenantjobs.current import Current
from tenantjobs.errors import ConfigurationError
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
            pytest.skip("this queue has no ledger of keys: a section [db] among the settings gives it one")
        with Current.set(tenant_id="acme"):
            call = jobs.once_only.set(queue=self.queue).call(7)
            envelope = Message(call, self.configured).seal()
            self.configured.enqueue(envelope)
            self.configured.enqueue(envelope)
            jobs.once_only.set(queue=self.queue).perform_later(7)
            jobs.once_only.set(queue=self.queue).perform_later(8)

        self.start()

        assert [effect.value for effect in self.performed(2)] == [7, 8]

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

    def _transact(self, ending: str) -> None:
        pytest.importorskip("tenantjobs_sqlalchemy")
        given = {
            "TENANTJOBS_CONFIG": str(self.folder / "tenantjobs.toml"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command = [sys.executable, "-m", "tenantjobs.testing.contract.transacting", ending, self.queue]
        done = subprocess.run(command, cwd=self.folder, env={**os.environ, **given}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

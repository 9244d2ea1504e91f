"""Who works on the queue: a worker or a gate in this process, or a supervisor with several, and what relays beside."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from tenantjobs import gate, runtime
from tenantjobs.adapter import WorkOptions
from tenantjobs.config.file import displayed
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import draining
from tenantjobs_db.assembly import Assembly
from tenantjobs_db.assignment import Assignment
from tenantjobs_db.plan import Plan
from tenantjobs_db.service import Service
from tenantjobs_db.stores import Stores
from tenantjobs_db.worker import Worker

PLAN = "config/queue.yml"


class Workplace:
    """Runs them, and wakes those that run here."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._workers: list[Worker] = []

    def drain(self) -> int:
        """Perform everything that is due in this process; the number of attempts."""
        return draining.drain(self._stores.database, self._stores.settings, self._stores.completing())

    def work(self, options: WorkOptions) -> int:
        """Run a worker until it is stopped or drained; the exit code of the process.

        A job that still hangs when the time to stop has run out was given back; then this does not return, and the
        process ends here, since its thread could not be ended.
        """
        self._refuse_memory()
        self._stores.require()
        found = gate.settings()
        if found is not None:
            _refuse_what_a_gate_does_not_know(options)
            return self.run(self._assembly().gate(options, found), options)
        worker = self._assembly().process(options)
        code = self.run(worker, options)
        if worker.hanging:
            _leave_now(code)
        return code

    def worker(self, options: WorkOptions) -> Worker | Service:
        """A worker that does everything, or a gate where there is one, for ``run``."""
        found = gate.settings()
        return self._assembly().worker(options) if found is None else self._assembly().gate(options, found)

    def run(self, worker: Worker | Service, options: WorkOptions) -> int:
        """Run it until it is stopped or drained, and relay beside it. Jobs that still hang were given back."""
        with self._relaying(options):
            return self._run(worker)

    @property
    def plan(self) -> str | None:
        """The file that says which processes there are."""
        path = self._plan_file()
        return None if path is None else displayed(path)

    def supervise(self, options: WorkOptions, processes: int | None, command: Sequence[str]) -> int:
        """Run ``processes`` workers and a dispatcher, or those of the file, until stopped; the exit code.

        ``command`` starts a process that comes to ``serve`` with its last argument.
        """
        plan = self._planned() if processes is None else self._plan_of(options, processes)
        self._refuse_memory()
        self._stores.require()
        return self._assembly().supervisor(plan, command, options).run()

    def serve(self, assignment: str) -> int:
        """Be one of the processes of a supervisor; the exit code."""
        process = self._assembly().assigned(Assignment.decode(assignment))
        if not isinstance(process, Worker):
            return process.run()
        code = self._run(process)
        if process.hanging:
            _leave_now(code)
        return code

    def wake(self) -> None:
        """Jobs have come: have the workers of this process look."""
        for worker in self._workers:
            worker.wake()

    def check(self) -> None:
        """``ConfigurationError`` for what keeps processes from working that can be told without one."""
        self._refuse_memory()
        if self.plan is not None:
            self._planned()

    def _refuse_memory(self) -> None:
        if self._stores.database.in_memory:
            raise ConfigurationError(
                "the queue lives in the memory of one process, where no worker can reach it: use a file "
                '(url = "sqlite:///jobs.db"), or testing.drain() in tests'
            )

    def _run(self, worker: Worker | Service) -> int:
        if isinstance(worker, Service):
            return worker.run()
        self._workers.append(worker)
        try:
            return worker.run()
        finally:
            self._workers.remove(worker)

    def _plan_of(self, options: WorkOptions, processes: int) -> Plan:
        return Plan.of(options, processes) if gate.settings() is None else Plan.of_gates(options, processes)

    def _planned(self) -> Plan:
        path = self._plan_file()
        assert path is not None, "it is asked for only where there is one"
        # YAML is a megabyte that only its readers pay for.
        plan: Plan = import_module("tenantjobs_db.plan_file").read(path)
        return plan

    def _plan_file(self) -> Path | None:
        """The one that ``[db] queue_file`` names, else ``config/queue.yml`` if there is one."""
        found = runtime.settings().located(self._stores.settings.queue_file or PLAN)
        return found if self._stores.settings.queue_file is not None or found.is_file() else None

    def _assembly(self) -> Assembly:
        return Assembly(
            self._stores.database,
            self._stores.settings,
            completing=self._stores.completing(),
            inbox=self._stores.inbox,
            batches=self._stores.batches,
            relay=self._stores.outbox.relay if runtime.settings().outbox else None,
        )

    @contextmanager
    def _relaying(self, options: WorkOptions) -> Iterator[None]:
        """Relay from the outbox, if there is one, beside a worker; before it, if it is to end when nothing is left."""
        if not runtime.settings().outbox:
            yield
        else:
            if options.drain:
                self._stores.outbox.relay.relay()
            with self._stores.outbox.relay.running():
                yield


def _refuse_what_a_gate_does_not_know(options: WorkOptions) -> None:
    if options.drain:
        raise ConfigurationError("--drain: a gate does not know when the broker's workers have ended: leave it out")
    if options.health is not None:
        raise ConfigurationError("--health: a gate does not say how it is: leave it out")


def _leave_now(code: int) -> None:
    if threading.current_thread() is threading.main_thread():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

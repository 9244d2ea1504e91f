"""The adapter ``db``: a durable queue in the application's database, or in one of its own."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine

from tenantjobs import gate, runtime, view
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.config.file import displayed
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.progress import Progress
from tenantjobs.view import Explanation, JobView, KeptResult
from tenantjobs_db import draining, schema
from tenantjobs_db.alarms import unheard
from tenantjobs_db.assembly import Assembly
from tenantjobs_db.assignment import Assignment
from tenantjobs_db.attendance import Attendance
from tenantjobs_db.batches import DatabaseBatches
from tenantjobs_db.bookmarks import DatabaseBookmarks
from tenantjobs_db.completing import Completing
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.explaining import Explaining
from tenantjobs_db.exporting import Exporting
from tenantjobs_db.gate import DatabaseGate
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.kept import kept
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.opening import answering, application_engine, beside_application, open_database
from tenantjobs_db.outbox import DatabaseOutbox
from tenantjobs_db.permits import DatabasePermits
from tenantjobs_db.plan import Plan
from tenantjobs_db.purging import Purging
from tenantjobs_db.queue import Queue
from tenantjobs_db.rates import DatabaseRates
from tenantjobs_db.refusing import saying_what_is_missing, saying_who_is_in_the_way
from tenantjobs_db.service import Service
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settling import Settling
from tenantjobs_db.stored import DatabaseJobs
from tenantjobs_db.telling import Telling
from tenantjobs_db.ticks import DatabaseTicks
from tenantjobs_db.worker import Worker

PLAN = "config/queue.yml"

CAPABILITIES = Capabilities(delay=True, priority=True, queues=True, bulk=True, cancel=True, results=True)


class DatabaseAdapter:
    """Jobs as rows: in the application's transactions where it is given the engine, durable on return elsewhere."""

    Settings = DatabaseSettings

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._opening = threading.RLock()
        self._gate: DatabaseGate | None = None
        self._workers: list[Worker] = []

    @property
    def capabilities(self) -> Capabilities:
        """Transactional only in the application's database; elsewhere there is the inbox.

        Results are kept with finished jobs, and with them only.
        """
        in_application = self.settings.engine is not None and not self._is_apart
        return _capabilities(in_application, self.settings.keeps_finished)

    @kept
    def database(self) -> Database:
        """The database of the queue, on connections of our own; opened on first use."""
        return open_database(self.settings, apart=self._is_apart)

    @kept
    def queue(self) -> Queue:
        """What is in the queue: counts, single jobs, cancelling."""
        return Queue(self.database)

    @kept
    def ledger(self) -> DatabaseLedger:
        """The ledger of idempotency keys, in the same database."""
        return DatabaseLedger(self.database, self.joins)

    @kept
    def locks(self) -> DatabaseLocks:
        """The locks of unique jobs, in the same database."""
        return DatabaseLocks(self.database, self.joins)

    @kept
    def batches(self) -> DatabaseBatches:
        """Batches: in the application's database where that is known, so that they commit with its transactions."""
        database = self.outbox.database if self._is_apart else self.database
        return DatabaseBatches(database, self._is_application)

    @kept
    def permits(self) -> DatabasePermits:
        """The permits of limited jobs, in the same database."""
        return DatabasePermits(self.database, self.joins)

    @kept
    def rates(self) -> DatabaseRates:
        """The starts of jobs with a rate, in the same database."""
        return DatabaseRates(self.database)

    @kept
    def controls(self) -> Controls:
        """What operators say of queues, tenants and jobs: pauses, weights, caps."""
        outside = [database for name, database in self._places().items() if name]
        return Controls(self.database, kept=self.settings.forgotten_after, outside=outside)

    @property
    def gate(self) -> DatabaseGate:
        """Jobs that a broker's workers perform; ConfigurationError if there is no gate for any."""
        found = gate.settings()
        if found is None:
            raise ConfigurationError('there is no [gate] in the configuration: write adapter = "celery" into it, say')
        with self._opening:
            if self._gate is None or self._gate.settings != found:
                self._gate = DatabaseGate(self.database, self.settings, found, self._completing())
            return self._gate

    @property
    def exports(self) -> Exporting:
        """What writes all that is here of a tenant to a file."""
        return Exporting(self._places())

    @property
    def purges(self) -> Purging:
        """What removes all that is here of a tenant."""
        return Purging(self._places())

    @kept
    def outbox(self) -> DatabaseOutbox:
        """The outbox, in the application's database; ConfigurationError if that is not known."""
        return DatabaseOutbox(self._beside(), self._is_application, lease=self.settings.lease)

    @kept
    def ticks(self) -> DatabaseTicks:
        """Which recurring jobs have been enqueued, in the same database; its schema has to be there."""
        with answering(self.database, self.settings):
            schema.require(self.database)
        return DatabaseTicks(self.database)

    @kept
    def inbox(self) -> DatabaseInbox | None:
        """The inbox, in the application's database; None if that is not known."""
        if self.settings.engine is None:
            return None
        database = self.outbox.database if self._is_apart else self.database
        return DatabaseInbox(database, self._is_application, keep=self.settings.keep_inbox)

    @kept
    def bookmarks(self) -> DatabaseBookmarks:
        """Bookmarks of jobs that another queue delivers: in the application's database where that is known."""
        database = self.outbox.database if self._is_apart else self.database
        return DatabaseBookmarks(database, self._is_application, keep=self.settings.keep_inbox)

    def enqueue(self, envelope: Envelope) -> None:
        self.queue.enqueue([envelope])
        self._wake_workers()

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        self.queue.enqueue(envelopes)
        self._wake_workers()

    def joins(self, engine: object) -> bool:
        """True if ``engine``, or the engine of a connection, is the one that ``[db] engine`` names."""
        return not self._is_apart and self._is_application(engine)

    @property
    def _is_apart(self) -> bool:
        """Whether jobs reach the queue through the outbox: ``url`` is then a database of its own, beside ``engine``."""
        return runtime.settings().outbox and self.settings.url is not None and self.settings.engine is not None

    def _is_application(self, engine: object) -> bool:
        configured = application_engine(self.settings)
        if isinstance(engine, Connection):
            engine = engine.engine
        engine = getattr(engine, "sync_engine", engine)
        # An engine with other execution options is another object over the same pool.
        return configured is not None and isinstance(engine, Engine) and engine.pool is configured.pool

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of our own, for jobs and their locks; durable at its end."""
        with saying_what_is_missing(), saying_who_is_in_the_way(), self.database.begin() as connection:
            yield connection
        self._wake_workers()

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        self.queue.enqueue_within(connection, envelopes)

    def cancel(self, job_id: str) -> bool:
        cancelled = self.queue.cancel(job_id)
        if cancelled:
            self.locks.forsake([job_id])
            self.permits.forsake([job_id])
        return cancelled

    def cancel_within(self, connection: object, job_id: str) -> bool:
        """The same by a transaction that is open; False if that is not in the database of the queue."""
        return (
            isinstance(connection, Connection)
            and (self.database.began(connection) or self.joins(connection))
            and self.queue.cancel_within(connection, job_id)
        )

    def progress(self, job_id: str) -> Progress | None:
        """How far the job has come, a second ago or less."""
        return self.telling.read(job_id)

    @kept
    def telling(self) -> Telling:
        """What reads how far jobs have come."""
        return Telling(self.database)

    @kept
    def stored(self) -> DatabaseJobs:
        """The jobs of all tenants, to be listed, counted and changed by hand."""
        return DatabaseJobs(self.database, self.settings, has_batches=not self._is_apart, wake=self._wake_workers)

    def show(self, job_id: str) -> JobView | None:
        """The job as people look at it; None if there is none of this id, or none any more."""
        return self.stored.find(job_id)

    def result(self, job_id: str) -> KeptResult | None:
        """What the job has returned, as it is kept; None if there is none of this id, or none any more."""
        return self.stored.result(job_id)

    def explain(self, job_id: str) -> Explanation | None:
        """Why the job waits; None if there is none of this id, or none any more."""
        with answering(self.database, self.settings):
            return Explaining(self.database).explain(job_id)

    def drain(self) -> int:
        """Perform everything that is due in this process; the number of attempts."""
        return draining.drain(self.database, self.settings, self._completing())

    def work(self, options: WorkOptions) -> int:
        """Run a worker until it is stopped or drained; the exit code of the process.

        A job that still hangs when the time to stop has run out was given back; then this does not return, and the
        process ends here, since its thread could not be ended.
        """
        self._refuse_memory()
        self.require()
        found = gate.settings()
        if found is not None:
            _refuse_what_a_gate_does_not_know(options)
            return self.run(self._assembly().gate(options, found), options)
        worker = self._assembly().process(options)
        code = self.run(worker, options)
        if worker.hanging:
            _leave_now(code)
        return code

    def require(self) -> None:
        """``ConfigurationError`` unless the databases answer, and have the schema that this release knows."""
        for database in self._databases():
            with answering(database, self.settings):
                schema.require(database)

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
        plan = self._plan() if processes is None else self._planned(options, processes)
        self._refuse_memory()
        self.require()
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

    def check(self) -> list[str]:
        """What is wrong with the configuration and the schema, each with what to do about it."""
        try:
            self._refuse_memory()
            if self.plan is not None:
                self._plan()
            return [problem for database in self._databases() if (problem := self._problem(database)) is not None]
        except ConfigurationError as error:
            return [str(error)]

    def notes(self) -> list[str]:
        """What works, and not as one might think."""
        why = unheard(self.database)
        return [] if why is None else [f"no worker is woken by NOTIFY, so that idle ones poll: {why}"]

    def processes(self) -> list[view.ProcessView]:
        """All processes that have not signed off, supervisors before theirs."""
        with answering(self.database, self.settings):
            schema.require(self.database)
            return Attendance(self.database, lease=self.settings.lease).processes()

    def close(self) -> None:
        with self._opening:
            made = vars(self)
            if "database" in made:
                self.database.close()
            if "outbox" in made:
                self.outbox.database.close()

    def _run(self, worker: Worker | Service) -> int:
        if isinstance(worker, Service):
            return worker.run()
        self._workers.append(worker)
        try:
            return worker.run()
        finally:
            self._workers.remove(worker)

    def _planned(self, options: WorkOptions, processes: int) -> Plan:
        return Plan.of(options, processes) if gate.settings() is None else Plan.of_gates(options, processes)

    def _plan(self) -> Plan:
        path = self._plan_file()
        assert path is not None, "it is asked for only where there is one"
        # YAML is a megabyte that only its readers pay for.
        plan: Plan = import_module("tenantjobs_db.plan_file").read(path)
        return plan

    def _plan_file(self) -> Path | None:
        """The one that ``[db] queue_file`` names, else ``config/queue.yml`` if there is one."""
        found = runtime.settings().located(self.settings.queue_file or PLAN)
        return found if self.settings.queue_file is not None or found.is_file() else None

    def _assembly(self) -> Assembly:
        return Assembly(
            self.database,
            self.settings,
            completing=self._completing(),
            inbox=self.inbox,
            batches=self.batches,
            relay=self.outbox.relay if runtime.settings().outbox else None,
        )

    def _completing(self) -> Completing | None:
        if self._is_apart or self.settings.engine is None:
            return None
        return Completing(Settling(self.database.dialect, keep_finished=self.settings.keeps_finished), self.joins)

    def _beside(self) -> Database:
        """The application's database, on connections of our own."""
        return beside_application(self.settings) if self._is_apart else self._in_application()

    def _in_application(self) -> Database:
        if application_engine(self.settings) is None:
            raise ConfigurationError(
                "outbox = true, and the application's database, which it is to be in, is not known: set engine in the "
                'section [db] (engine = "shop.db:engine")'
            )
        return self.database

    @contextmanager
    def _relaying(self, options: WorkOptions) -> Iterator[None]:
        """Relay from the outbox, if there is one, beside a worker; before it, if it is to end when nothing is left."""
        if not runtime.settings().outbox:
            yield
        else:
            if options.drain:
                self.outbox.relay.relay()
            with self.outbox.relay.running():
                yield

    def _places(self) -> dict[str, Database]:
        """Where there are rows of tenants, by the names that are before those of the tables."""
        here = {"": self.database}
        return here | {"outbox": self.outbox.database} if self._is_apart else here

    def _databases(self) -> list[Database]:
        """That of the queue, and that of the outbox if it is another."""
        apart = [self.outbox.database] if self._is_apart else []
        return [self.database, *apart]

    def _problem(self, database: Database) -> str | None:
        with answering(database, self.settings), database.begin() as connection:
            return schema.status(connection).problem

    def _refuse_memory(self) -> None:
        if self.database.in_memory:
            raise ConfigurationError(
                "the queue lives in the memory of one process, where no worker can reach it: use a file "
                '(url = "sqlite:///jobs.db"), or testing.drain() in tests'
            )

    def _wake_workers(self) -> None:
        for worker in self._workers:
            worker.wake()


@cache
def _capabilities(in_application: bool, keeps_finished: bool) -> Capabilities:  # asked for at each call
    return msgspec.structs.replace(CAPABILITIES, transactional=in_application, results=keeps_finished)


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

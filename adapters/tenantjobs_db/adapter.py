"""The adapter ``db``: a durable queue in the application's database, or in one of its own."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import draining, schema
from tenantjobs_db.database import Database
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.opening import answering, application_engine, open_database
from tenantjobs_db.queue import Queue
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.worker import Worker


class DatabaseAdapter:
    """Jobs as rows: in the application's transactions where it is given the engine, durable on return elsewhere."""

    Settings = DatabaseSettings
    capabilities = Capabilities(delay=True, priority=True, queues=True, bulk=True, cancel=True)

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._opening = threading.RLock()
        self._database: Database | None = None
        self._queue: Queue | None = None
        self._ledger: DatabaseLedger | None = None
        self._workers: list[Worker] = []

    @property
    def database(self) -> Database:
        """The database of the queue, on connections of our own; opened on first use."""
        with self._opening:
            if self._database is None:
                self._database = open_database(self.settings)
            return self._database

    @property
    def queue(self) -> Queue:
        """What is in the queue: counts, single jobs, cancelling."""
        with self._opening:
            if self._queue is None:
                self._queue = Queue(self.database)
            return self._queue

    @property
    def ledger(self) -> DatabaseLedger:
        """The ledger of idempotency keys, in the same database."""
        with self._opening:
            if self._ledger is None:
                self._ledger = DatabaseLedger(self.database, self.joins)
            return self._ledger

    def enqueue(self, envelope: Envelope) -> None:
        self.queue.enqueue([envelope])
        self._wake_workers()

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        self.queue.enqueue(envelopes)
        self._wake_workers()

    def joins(self, engine: object) -> bool:
        """True if ``engine``, or the engine of a connection, is the one that ``[db] engine`` names."""
        configured = application_engine(self.settings)
        if isinstance(engine, Connection):
            engine = engine.engine
        engine = getattr(engine, "sync_engine", engine)
        # An engine with other execution options is another object over the same pool.
        return configured is not None and isinstance(engine, Engine) and engine.pool is configured.pool

    def enqueue_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        self.queue.enqueue_within(connection, envelopes)

    def cancel(self, job_id: str) -> bool:
        return self.queue.cancel(job_id)

    def drain(self) -> int:
        """Perform everything that is due in this process; the number of attempts."""
        return draining.drain(self.database, self.settings)

    def work(self, options: WorkOptions) -> int:
        """Run a worker until it is stopped or drained; the exit code of the process.

        A job that still hangs when the time to stop has run out was given back; then this does not return, and the
        process ends here, since its thread could not be ended.
        """
        self._refuse_memory()
        with answering(self.database, self.settings):
            schema.require(self.database)
        worker = Worker(self.database, self.settings, options)
        self._workers.append(worker)
        try:
            code = worker.run()
        finally:
            self._workers.remove(worker)
        if worker.hanging:
            _leave_now(code)
        return code

    def check(self) -> list[str]:
        """What is wrong with the configuration and the schema, each with what to do about it."""
        try:
            self._refuse_memory()
            with answering(self.database, self.settings), self.database.begin() as connection:
                problem = schema.status(connection).problem
        except ConfigurationError as error:
            return [str(error)]
        return [problem] if problem is not None else []

    def close(self) -> None:
        with self._opening:
            if self._database is not None:
                self._database.close()

    def _refuse_memory(self) -> None:
        if self.database.in_memory:
            raise ConfigurationError(
                "the queue lives in the memory of one process, where no worker can reach it: use a file "
                '(url = "sqlite:///jobs.db"), or testing.drain() in tests'
            )

    def _wake_workers(self) -> None:
        for worker in self._workers:
            worker.wake()


def _leave_now(code: int) -> None:
    if threading.current_thread() is threading.main_thread():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

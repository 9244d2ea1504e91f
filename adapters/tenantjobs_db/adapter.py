"""The adapter ``db``: a durable queue in the application's database, or in one of its own."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from tenantjobs import runtime
from tenantjobs.adapter import Capabilities, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import draining, schema
from tenantjobs_db.database import Database, beside, own
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.outbox import DatabaseOutbox
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
        self._outbox: DatabaseOutbox | None = None
        self._workers: list[Worker] = []

    @property
    def database(self) -> Database:
        """The database of the queue, on connections of our own; opened on first use."""
        with self._opening:
            if self._database is None:
                self._database = self._open()
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

    @property
    def outbox(self) -> DatabaseOutbox:
        """The outbox, in the application's database; ConfigurationError if that is not known."""
        with self._opening:
            if self._outbox is None:
                self._outbox = DatabaseOutbox(self._beside(), self._is_application, lease=self.settings.lease)
            return self._outbox

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
        configured = self._application_engine()
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
        schema.require(self.database)
        worker = Worker(self.database, self.settings, options)
        self._workers.append(worker)
        try:
            with self._relaying(options):
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
            return [problem for database in self._databases() if (problem := _problem(database)) is not None]
        except ConfigurationError as error:
            return [str(error)]
        except SQLAlchemyError as error:
            return [f"the database of the queue does not answer: {error}"]

    def close(self) -> None:
        with self._opening:
            if self._database is not None:
                self._database.close()
            if self._outbox is not None:
                self._outbox.database.close()

    def _open(self) -> Database:
        settings, engine = self.settings, self._application_engine()
        if engine is not None and not self._is_apart:
            return beside(engine, settings.url, synchronous=settings.synchronous, busy_timeout=settings.busy_timeout)
        if settings.url is None:
            raise ConfigurationError(
                "the adapter 'db' does not know its database: set url in the section [db] "
                '(url = "sqlite:///jobs.db"), or the engine of the application (engine = "shop.db:engine")'
            )
        database = own(settings.url, synchronous=settings.synchronous, busy_timeout=settings.busy_timeout)
        if database.embedded:
            schema.require(database)
        return database

    def _beside(self) -> Database:
        """The application's database, on connections of our own."""
        engine, settings = self._application_engine(), self.settings
        if engine is None:
            raise ConfigurationError(
                "outbox = true, and the application's database, which it is to be in, is not known: set engine in the "
                'section [db] (engine = "shop.db:engine")'
            )
        if not self._is_apart:
            return self.database
        return beside(engine, synchronous=settings.synchronous, busy_timeout=settings.busy_timeout)

    def _application_engine(self) -> Engine | None:
        """The engine that ``[db] engine`` is or names; one for asyncio as what it is underneath."""
        engine = self.settings.engine
        if isinstance(engine, str):
            engine = _imported(engine)
        engine = getattr(engine, "sync_engine", engine)
        if engine is not None and not isinstance(engine, Engine):
            raise ConfigurationError(
                f"[db] engine = {self.settings.engine!r} is {type(engine).__name__}; an Engine or AsyncEngine of "
                f"SQLAlchemy is wanted"
            )
        return engine

    @contextmanager
    def _relaying(self, options: WorkOptions) -> Iterator[None]:
        """Relay from the outbox, if there is one, beside a worker; before it, if it is to end when nothing is left."""
        if not runtime.settings().outbox:
            yield
        else:
            schema.require(self.outbox.database)
            if options.drain:
                self.outbox.relay.relay()
            with self.outbox.relay.running():
                yield

    def _databases(self) -> list[Database]:
        """That of the queue, and that of the outbox if it is another."""
        apart = [self.outbox.database] if self._is_apart else []
        return [self.database, *apart]

    def _refuse_memory(self) -> None:
        if self.database.in_memory:
            raise ConfigurationError(
                "the queue lives in the memory of one process, where no worker can reach it: use a file "
                '(url = "sqlite:///jobs.db"), or testing.drain() in tests'
            )

    def _wake_workers(self) -> None:
        for worker in self._workers:
            worker.wake()


def _imported(path: str) -> object:
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"[db] engine = {path!r}: 'module:name' is wanted, as in \"shop.db:engine\"")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"[db] engine = {path!r} cannot be imported: {error}") from error


def _problem(database: Database) -> str | None:
    with database.begin() as connection:
        return schema.status(connection).problem


def _leave_now(code: int) -> None:
    if threading.current_thread() is threading.main_thread():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

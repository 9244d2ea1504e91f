"""What an adapter keeps in its databases: the queue, and all that belongs to it, each part made when first used."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, Engine

from tenantjobs import runtime
from tenantjobs.errors import ConfigurationError
from tenantjobs_db import schema
from tenantjobs_db.batches import DatabaseBatches
from tenantjobs_db.bookmarks import DatabaseBookmarks
from tenantjobs_db.completing import Completing
from tenantjobs_db.controls import Controls
from tenantjobs_db.database import Database
from tenantjobs_db.exporting import Exporting
from tenantjobs_db.inbox import DatabaseInbox
from tenantjobs_db.kept import kept
from tenantjobs_db.ledger import DatabaseLedger
from tenantjobs_db.locks import DatabaseLocks
from tenantjobs_db.opening import answering, application_engine, beside_application, open_database
from tenantjobs_db.outbox import DatabaseOutbox
from tenantjobs_db.permits import DatabasePermits
from tenantjobs_db.purging import Purging
from tenantjobs_db.queue import Queue
from tenantjobs_db.rates import DatabaseRates
from tenantjobs_db.settings import DatabaseSettings
from tenantjobs_db.settling import Settling
from tenantjobs_db.telling import Telling
from tenantjobs_db.ticks import DatabaseTicks


class Stores:
    """In the application's database where that is known, in one of the queue's own, or partly here and partly there."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._opening = threading.RLock()

    @kept
    def database(self) -> Database:
        """The database of the queue, on connections of our own; opened on first use."""
        return open_database(self.settings, apart=self.is_apart)

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
        database = self.outbox.database if self.is_apart else self.database
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

    @kept
    def telling(self) -> Telling:
        """What reads how far jobs have come."""
        return Telling(self.database)

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
        database = self.outbox.database if self.is_apart else self.database
        return DatabaseInbox(database, self._is_application, keep=self.settings.keep_inbox)

    @kept
    def bookmarks(self) -> DatabaseBookmarks:
        """Bookmarks of jobs that another queue delivers: in the application's database where that is known."""
        database = self.outbox.database if self.is_apart else self.database
        return DatabaseBookmarks(database, self._is_application, keep=self.settings.keep_inbox)

    def joins(self, engine: object) -> bool:
        """True if ``engine``, or the engine of a connection, is the one that ``[db] engine`` names."""
        return not self.is_apart and self._is_application(engine)

    @property
    def is_apart(self) -> bool:
        """Whether jobs reach the queue through the outbox: ``url`` is then a database of its own, beside ``engine``."""
        return runtime.settings().outbox and self.settings.url is not None and self.settings.engine is not None

    def completing(self) -> Completing | None:
        """What finishes jobs in their own transactions; None where the queue is not in the application's database."""
        if self.is_apart or self.settings.engine is None:
            return None
        return Completing(Settling(self.database.dialect, keep_finished=self.settings.keeps_finished), self.joins)

    def require(self) -> None:
        """``ConfigurationError`` unless the databases answer, and have the schema that this release knows."""
        for database in self._databases():
            with answering(database, self.settings):
                schema.require(database)

    def problems(self) -> list[str]:
        """What is wrong with the databases, each with what to do about it."""
        return [problem for database in self._databases() if (problem := self._problem(database)) is not None]

    def close(self) -> None:
        with self._opening:
            made = vars(self)
            if "database" in made:
                self.database.close()
            if "outbox" in made:
                self.outbox.database.close()

    def _is_application(self, engine: object) -> bool:
        configured = application_engine(self.settings)
        if isinstance(engine, Connection):
            engine = engine.engine
        engine = getattr(engine, "sync_engine", engine)
        # An engine with other execution options is another object over the same pool.
        return configured is not None and isinstance(engine, Engine) and engine.pool is configured.pool

    def _beside(self) -> Database:
        """The application's database, on connections of our own."""
        return beside_application(self.settings) if self.is_apart else self._in_application()

    def _in_application(self) -> Database:
        if application_engine(self.settings) is None:
            raise ConfigurationError(
                "outbox = true, and the application's database, which it is to be in, is not known: set engine in the "
                'section [db] (engine = "shop.db:engine")'
            )
        return self.database

    def _places(self) -> dict[str, Database]:
        """Where there are rows of tenants, by the names that are before those of the tables."""
        here = {"": self.database}
        return here | {"outbox": self.outbox.database} if self.is_apart else here

    def _databases(self) -> list[Database]:
        """That of the queue, and that of the outbox if it is another."""
        apart = [self.outbox.database] if self.is_apart else []
        return [self.database, *apart]

    def _problem(self, database: Database) -> str | None:
        with answering(database, self.settings), database.begin() as connection:
            return schema.status(connection).problem

"""The outbox in the application's database: written in its transactions, published after them, relayed otherwise."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from sqlalchemy import Connection

from tenantjobs import adapter, faults, outbox
from tenantjobs.adapter import Adapter, WorkOptions
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError
from tenantjobs.running import going_on
from tenantjobs.signals import Bell
from tenantjobs_db import schema
from tenantjobs_db.database import Database
from tenantjobs_db.outbox_rows import OutboxRows
from tenantjobs_db.refusing import saying_what_is_missing
from tenantjobs_db.relaying import Relay

logger = logging.getLogger("tenantjobs.db")


class DatabaseOutbox:
    """Whoever commits a job publishes it at once; whatever is not published within the lease is a relay's."""

    def __init__(self, database: Database, joins: Callable[[object], bool], *, lease: float) -> None:
        self.database = database
        self._joins = joins
        self._rows = OutboxRows(database, lease=lease)
        self.relay = Relay(self._rows, adapter.configured)

    def joins(self, engine: object) -> bool:
        """True for the application's engine, and for connections of our own."""
        return self._joins(engine) or (isinstance(engine, Connection) and self.database.began(engine))

    def write_within(self, connection: object, envelopes: Sequence[Envelope]) -> None:
        assert isinstance(connection, Connection), "joins() has said yes to something else"
        with saying_what_is_missing():
            self._rows.write(connection, envelopes)

    def publish(self, envelopes: Sequence[Envelope], target: Adapter) -> None:
        """Send jobs that were just committed to ``target``. Never raises: what fails is left to the relay."""
        ids = [envelope.id for envelope in envelopes]
        faults.point("before_publish")
        try:
            with going_on():
                target.enqueue_all(envelopes)
        except Exception as error:
            logger.warning("%d jobs wait in the outbox for a relay: publishing them failed: %s", len(ids), error)
            self._settle(self._rows.release, ids)
        else:
            faults.point("after_publish")
            self._settle(self._rows.remove, ids)

    def cancel(self, job_id: str) -> bool:
        """Take a job back that waits for a relay: True if it was still there, and nobody was publishing it."""
        return self._rows.cancel(job_id)

    def work(self, options: WorkOptions) -> int:
        """Do nothing but relay, for a queue whose workers are not ours, until stopped or until nothing is left."""
        schema.require(self.database)
        if options.drain:
            self.relay.relay()
            return 0
        logger.info("relaying jobs from the outbox")
        with self.relay.running(), _until_stopped() as stopped:
            stopped.wait()
        return 0

    def check(self) -> list[str]:
        """What is wrong with the schema, with what to do about it."""
        problem = schema.status(self.database.engine).problem
        return [] if problem is None else [f"the outbox: {problem}"]

    def _settle(self, settle: Callable[[Sequence[str]], None], ids: Sequence[str]) -> None:
        try:
            settle(ids)
        except Exception as error:
            # The relay publishes them again when the lease is out: at least once, under the same ids.
            logger.warning("the outbox did not answer: %s", error)


@contextmanager
def relay() -> Iterator[None]:
    """Relay what is left in the outbox, on a thread of this process, while the block runs.

    For a process that is always there, such as the lifespan of a web application, where no ``tenantjobs work`` is.
    ``ConfigurationError`` if no outbox is configured, or if its table is missing.
    """
    found = outbox.configured()
    if found is None:
        raise ConfigurationError("there is no outbox to relay from: set outbox = true, and [db] engine")
    assert isinstance(found, DatabaseOutbox)
    schema.require(found.database)
    with found.relay.running():
        yield


@contextmanager
def _until_stopped() -> Iterator[Bell]:
    stopped = Bell()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopped.ring()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

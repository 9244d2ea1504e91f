"""The relay: it publishes what is left in the outbox by processes that died, or could not reach the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tenantjobs import faults
from tenantjobs.adapter import Adapter
from tenantjobs.envelope import Envelope
from tenantjobs.running import going_on
from tenantjobs_db.outbox_rows import OutboxRows, Unpublished
from tenantjobs_db.routine import Routine

logger = logging.getLogger("tenantjobs.db")

INTERVAL = 1.0  # seconds between two looks
PATIENCE = 3  # jobs that are refused one after another before the queue is taken to be down
LONGEST_PAUSE = 60.0  # seconds until a job that could not be published is tried again


class Relay:
    """Any number of them may run: each claims its jobs, and takes over those of one that died when its lease is out."""

    def __init__(self, rows: OutboxRows, target: Callable[[], Adapter]) -> None:
        self._rows = rows
        self._target = target

    def relay(self) -> int:
        """Publish everything that is nobody's; how many jobs there were. What the queue raises when it is down."""
        published = 0
        with going_on():
            while claimed := self._rows.claim():
                published += self._publish(claimed)
        return published

    @contextmanager
    def running(self, interval: float = INTERVAL) -> Iterator[None]:
        """Relay on a thread of its own until the block is left."""
        routine = self.routine(interval)
        routine.start()
        try:
            yield
        finally:
            routine.stop()
            routine.join(5.0)

    def routine(self, interval: float = INTERVAL) -> Routine:
        """What relays again and again."""
        return Routine("relay", interval, self.relay)

    def _publish(self, claimed: list[Unpublished]) -> int:
        faults.point("before_publish")
        try:
            self._target().enqueue_all([_envelope(unpublished) for unpublished in claimed])
        except Exception:
            return self._publish_singly(claimed)
        self._published(claimed)
        return len(claimed)

    def _publish_singly(self, claimed: list[Unpublished]) -> int:
        """One job that no queue takes must not keep the others back."""
        published = refused = 0
        for position, unpublished in enumerate(claimed):
            try:
                self._target().enqueue(_envelope(unpublished))
            except Exception as error:
                refused += 1
                self._postpone(unpublished, error)
                if refused == PATIENCE and not published:
                    self._rows.release([later.id for later in claimed[position + 1 :]])
                    raise
            else:
                published += 1
                self._published([unpublished])
        return published

    def _published(self, published: list[Unpublished]) -> None:
        faults.point("after_publish")
        self._rows.remove([unpublished.id for unpublished in published])
        for unpublished in published:
            logger.info("published %s, which its process had left in the outbox", unpublished)

    def _postpone(self, unpublished: Unpublished, error: Exception) -> None:
        pause = min(2.0**unpublished.failures, LONGEST_PAUSE)
        logger.warning("%s could not be published, and is tried again in %g s: %s", unpublished, pause, error)
        self._rows.postpone(unpublished, pause, f"{type(error).__name__}: {error}")


def _envelope(unpublished: Unpublished) -> Envelope:
    return Envelope.decode(unpublished.data)

"""A process that does nothing but routines, until it is stopped: a dispatcher, a scheduler."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from tenantjobs import lifecycle, signals
from tenantjobs_db.lease import Lease
from tenantjobs_db.routine import Routine

logger = logging.getLogger("tenantjobs.db")

PATIENCE = 5.0  # seconds that a stopping service waits for a routine that is at work


class Service:
    """Runs ``routines`` under ``lease``, and ``beside`` them what is no routine.

    What they do is done in transactions, so that they may be left at any time.
    """

    def __init__(
        self,
        kind: str,
        lease: Lease,
        routines: Sequence[Routine] = (),
        *,
        beat: float,
        beside: AbstractContextManager[object] | None = None,
    ) -> None:
        self._kind = kind
        self._lease = lease
        self._routines = [Routine("heartbeat", beat, lease.renew), *routines]
        self._beside = nullcontext() if beside is None else beside
        self._patience = PATIENCE
        self._stopped = signals.Bell()

    def run(self) -> int:
        """Serve. 1 if the lease was lost to others, else 0."""
        self._lease.begin()
        logger.info("%s %s is at work", self._kind, self._lease)
        process = lifecycle.Process(kind=self._kind, id=self._lease.process)
        with signals.obeyed(self):
            for routine in self._routines:
                routine.start()
            lifecycle.run("start", process)
            with self._beside:
                self._stopped.wait()
                lifecycle.run("stop", process)
            for routine in self._routines:
                routine.stop()
            for routine in self._routines:
                routine.join(self._patience)
        self._leave()
        lifecycle.run("exit", process)
        logger.info("%s %s has stopped", self._kind, self._lease)
        return 1 if self._lease.is_lost else 0

    def stop(self) -> None:
        self._stopped.ring()

    def halt(self) -> None:
        self._patience = 0.0
        self._stopped.ring()

    def quiet(self) -> None:
        """It begins no jobs, so that it goes on."""

    def _leave(self) -> None:
        try:
            self._lease.end()
        except Exception as error:
            logger.warning("%s %s could not sign off: %s", self._kind, self._lease, error)

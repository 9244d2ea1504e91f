"""RQ's worker pool on our queues, stopped in our time, and aware of queues that come up later."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

logger = logging.getLogger("tenantjobs.rq")


class Pool(WorkerPool):
    """``find`` gives the names of the queues in Redis; it is asked again every second."""

    def __init__(
        self, connection: Redis, find: Callable[[], list[str]], *, processes: int, shutdown_timeout: float
    ) -> None:
        super().__init__(find(), connection=connection, num_workers=processes, serializer=JSONSerializer)
        self._find = find
        self._shutdown_timeout = shutdown_timeout

    @property
    def stopped(self) -> bool:
        """True once it has been asked to stop."""
        return bool(self.status == self.Status.STOPPED)

    def start(self, burst: bool = False, logging_level: str = "INFO") -> None:
        try:
            super().start(burst=burst, logging_level=logging_level)
        finally:
            # All have ended. An alarm that comes while this process ends finds no handler any more, and kills it.
            signal.setitimer(signal.ITIMER_REAL, 0)

    def check_workers(self, respawn: bool = True) -> None:
        found = self._found() if respawn else self._queue_names
        if found != self._queue_names:
            # They finish what they have, and others with all the queues take their places.
            self._queue_names = found
            self.stop_workers()  # type: ignore[no-untyped-call]  # RQ has not typed it
        super().check_workers(respawn)

    def _found(self) -> list[str]:
        try:
            return self._find()
        except RedisError as error:
            logger.warning("Redis does not say which queues there are, so the workers keep theirs: %s", error)
            return self._queue_names

    def request_stop(self, signum: Any = None, frame: Any = None) -> None:
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # as above
        # Another signal makes a worker give up its job, which another one takes up when it is missed. RQ takes no
        # notice of one that comes within a second of the first.
        signal.signal(signal.SIGALRM, self._stop_now)
        signal.setitimer(signal.ITIMER_REAL, max(self._shutdown_timeout, 0.001), 1.0)

    def _stop_now(self, _signum: Any, _frame: Any) -> None:
        self.stop_workers()  # type: ignore[no-untyped-call]  # as above

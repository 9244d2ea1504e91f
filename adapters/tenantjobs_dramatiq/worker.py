"""Dramatiq's own worker, run in this process until it is asked to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

from dramatiq import Broker, Worker
from dramatiq.worker import QUEUE_PREFETCH

from tenantjobs.adapter import WorkOptions
from tenantjobs.signals import Bell


def work(broker: Broker, queues: Collection[str], options: WorkOptions) -> int:
    """Serve the queues. 0 if every job that was started has ended, 1 if some still ran when the time was up.

    Those are delivered again: by RabbitMQ at once, by Redis when the worker is missed.
    """
    for name in queues:
        broker.declare_queue(name)
    worker = Worker(
        broker,
        queues=set(queues),
        worker_threads=options.threads,
        worker_timeout=max(1, round(options.polling_interval * 1000)),
    )
    if not QUEUE_PREFETCH:  # which is an environment variable of Dramatiq's
        worker.queue_prefetch = (
            options.threads
        )  # what waits here is out of order, and out of the reach of other workers
    with _stopped_by_signals() as stopping:
        broker.emit_after("process_boot")
        worker.start()
        stopping.wait()
        worker.stop(timeout=round(options.shutdown_timeout * 1000))
    hanging = any(thread.is_alive() for thread in worker.workers)
    broker.close()
    return int(hanging)


@contextmanager
def _stopped_by_signals() -> Iterator[Bell]:
    stopping = Bell()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stopping.rung:
            sys.exit(1)  # asked a second time: now
        stopping.ring()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

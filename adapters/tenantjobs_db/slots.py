"""The jobs that run now: on threads, or on the event loop if they are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue

import msgspec

from tenantjobs import loops
from tenantjobs_db.attempting import aattempt, attempt, is_async
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.settlement import Claimed, GiveBack, Settlement
from tenantjobs_db.threads import Threads


class Running(msgspec.Struct, frozen=True):
    """A job that was started, and the task that it is if the event loop has it."""

    delivery: Delivery
    task: Future[None] | None


class Slots:
    """Room for ``count`` jobs at a time. All methods but ``wake`` belong to the worker's main thread."""

    def __init__(self, count: int, delivery: Callable[[Claimed], Delivery]) -> None:
        self._count = count
        self._delivery = delivery
        self._threads = Threads(count)
        self._running: dict[tuple[str, int], Running] = {}
        # SimpleQueue.put may be called in a signal handler, which Event.set and Queue.put may not.
        self._mail: SimpleQueue[Settlement | None] = SimpleQueue()

    @property
    def free(self) -> int:
        return self._count - len(self._running)

    @property
    def running(self) -> list[Claimed]:
        return [running.delivery.claim for running in self._running.values()]

    def start(self, claim: Claimed) -> None:
        delivery = self._delivery(claim)
        task: Future[None] | None = None
        if is_async(claim):
            task = asyncio.run_coroutine_threadsafe(self._arun(delivery), loops.shared())
        else:
            self._threads.start(lambda: self._mail.put(attempt(delivery)))
        self._running[claim.id, claim.fence] = Running(delivery, task)

    def wake(self) -> None:
        """End the wait for results; safe in a signal handler."""
        self._mail.put(None)

    def results(self, timeout: float) -> list[Settlement]:
        """What has ended; waits until something has, or somebody wakes us."""
        settlements: list[Settlement] = []
        try:
            mail = self._mail.get(timeout=timeout) if timeout > 0 else self._mail.get_nowait()
            while True:
                if mail is not None:
                    self._running.pop((mail.claim.id, mail.claim.fence), None)
                    settlements.append(mail)
                mail = self._mail.get_nowait()
        except Empty:
            return settlements

    def abandon(self) -> list[Settlement]:
        """Give back what still runs; whatever comes of it is not waited for any more."""
        for running in self._running.values():
            running.delivery.abandon()
            if running.task is not None:
                running.task.cancel()
        return [GiveBack(claim) for claim in self.running]

    async def _arun(self, delivery: Delivery) -> None:
        self._mail.put(await aattempt(delivery))

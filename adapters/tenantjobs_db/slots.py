"""The jobs of a worker: those that run, on threads or on the event loop, and those that start as soon as one ends.

Short jobs are claimed a moment ahead, so that no slot waits for the database between them: whoever ends a job takes
the next one by itself, and the worker is only woken when few are left. Long jobs are claimed as slots become free.

Jobs that are shorter than it takes to hand the interpreter from one thread to another run one after the other, as long
as each of them ends in that time: several threads would only keep each other, and the worker, from going on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue

from tenantjobs import loops
from tenantjobs_db.attempting import aattempt, attempt, is_async
from tenantjobs_db.costs import Costs
from tenantjobs_db.delivery import Delivery
from tenantjobs_db.pace import Pace
from tenantjobs_db.settlement import Claimed, GiveBack, Settlement
from tenantjobs_db.switching import Switching
from tenantjobs_db.threads import Threads

logger = logging.getLogger("tenantjobs.db")

LINGER = 0.02  # seconds that the others wait for a short job which is not so short, until all slots are used
PATIENCE = 0.25  # seconds that claimed jobs wait although no slot becomes free, before they go back


class Slots:
    """Room for ``count`` jobs at a time. All methods but ``wake`` belong to the worker's main thread."""

    def __init__(
        self, count: int, delivery: Callable[[Claimed], Delivery], costs: Costs, *, own_process: bool = False
    ) -> None:
        self._count = count
        self._delivery = delivery
        self._threads = Threads(count)
        self._held: dict[tuple[str, int], Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Whoever ends a job takes the next one or leaves its slot, and nothing may come to wait between the two.
        self._turn = threading.Lock()
        self._taken = 0
        self._waiting: deque[Delivery] = deque()
        self._moved = 0.0  # when a job was last started
        self._ended: deque[tuple[Settlement, float]] = deque()
        self._pace = Pace(count)
        self._costs = costs
        self._switching = Switching(allowed=own_process)
        self._few = 0  # waiting jobs, with which it is time to claim others
        # SimpleQueue.put may be called in a signal handler, which Event.set may not.
        self._bell: SimpleQueue[None] = SimpleQueue()

    @property
    def free(self) -> int:
        """How many jobs may be claimed now."""
        return max(self._count + self._pace.ahead - len(self._held), 0)

    @property
    def running(self) -> list[Claimed]:
        """What was started here, or will be, and has not ended."""
        return [delivery.claim for delivery in self._held.values()]

    def deliveries(self) -> tuple[Delivery, ...]:
        """The same as their jobs know them; for any thread."""
        return tuple(self._held.values())

    def start(self, claims: Sequence[Claimed]) -> None:
        """In free slots, and in those that become free."""
        deliveries = [self._delivery(claim) for claim in claims]
        self._held.update(((delivery.claim.id, delivery.claim.fence), delivery) for delivery in deliveries)
        with self._turn:
            self._waiting.extend(deliveries)
        self._switching.be_quick(self._pace.is_short)
        self._fill(at_first=1 if self._pace.is_short else self._count)
        if len(self._waiting) > self._few:
            self._hush()  # there were few while these were claimed

    def wake(self) -> None:
        """End the wait for results; safe in a signal handler."""
        self._bell.put(None)

    def results(self, timeout: float) -> list[Settlement]:
        """What has ended; waits until it is time for other jobs, or somebody wakes us."""
        self._wait(timeout)
        settlements, seconds = [], []
        while self._ended:
            settlement, taken = self._ended.popleft()
            if self._held.pop((settlement.claim.id, settlement.claim.fence), None) is not None:
                settlements.append(settlement)
                seconds.append(taken)
        self._pace.learn(seconds)
        self._costs.learn(settlements, seconds)
        self._few = self._pace.ahead * 2 // 3
        return settlements

    def stuck(self) -> bool:
        """Whether jobs wait here, and none was started for a while."""
        return bool(self._waiting) and time.monotonic() - self._moved > PATIENCE

    def withdraw(self) -> list[Settlement]:
        """Give back what was not started, and claim nothing ahead for a while."""
        self._pace.forget()
        self._switching.be_quick(False)
        with self._turn:
            waiting = list(self._waiting)
            self._waiting.clear()
        for delivery in waiting:
            del self._held[delivery.claim.id, delivery.claim.fence]
        return [GiveBack(delivery.claim) for delivery in waiting]

    def abandon(self) -> list[Settlement]:
        """Give back all that has not ended; whatever comes of it is not waited for any more."""
        unstarted = self.withdraw()
        for delivery in self._held.values():
            delivery.abandon()
        for task in tuple(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)
        return unstarted + [GiveBack(claim) for claim in self.running]

    def _fill(self, *, at_first: int) -> None:
        """Start jobs that wait: on threads until so many slots are taken, on the event loop until all are."""
        tasks: list[Delivery] = []
        while (delivery := self._taking(at_first)) is not None:
            if is_async(delivery.claim):
                tasks.append(delivery)
            else:
                self._launch(delivery)
        self._launch_tasks(tasks)

    def _taking(self, at_first: int) -> Delivery | None:
        """The next job, for a slot that is free."""
        with self._turn:
            if not self._waiting or self._taken >= self._count:
                return None
            # Threads that have nothing to wait for keep each other; tasks take turns, and cost the loop a look for all.
            if self._taken >= at_first and not is_async(self._waiting[0].claim):
                return None
            self._taken += 1
            self._moved = time.monotonic()
            return self._waiting.popleft()

    def _wait(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        while not self._rung(min(left := until - time.monotonic(), LINGER if self._could_fill else left)):
            if time.monotonic() >= until:
                break
            if time.monotonic() - self._moved > LINGER:
                self._fill(at_first=self._count)
        self._hush()

    @property
    def _could_fill(self) -> bool:
        return bool(self._waiting) and self._taken < self._count

    def _rung(self, timeout: float) -> bool:
        try:
            self._bell.get(timeout=timeout) if timeout > 0 else self._bell.get_nowait()
        except Empty:
            return False
        return True

    def _hush(self) -> None:
        with suppress(Empty):
            while True:
                self._bell.get_nowait()

    def _launch(self, delivery: Delivery) -> None:
        if is_async(delivery.claim):
            self._launch_tasks([delivery])
            return
        try:
            self._threads.start(lambda: self._run(delivery))
        except RuntimeError as error:  # the system gives no more threads
            logger.error("%s could not be started and is given back: %s", delivery.claim, error)
            self._end(GiveBack(delivery.claim), 0.0)
            with self._turn:
                self._taken -= 1

    def _run(self, delivery: Delivery | None) -> None:
        """Job after job on this thread, until none is waiting or the next one is not for a thread."""
        while delivery is not None:
            began = time.monotonic()
            self._end(attempt(delivery), time.monotonic() - began)
            delivery = self._next()
            if delivery is not None and is_async(delivery.claim):
                self._launch(delivery)
                return

    def _launch_tasks(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            loop = loops.shared()
            loop.call_soon_threadsafe(self._start_tasks, loop, deliveries, copy_context())

    def _start_tasks(self, loop: asyncio.AbstractEventLoop, deliveries: Sequence[Delivery], context: Context) -> None:
        for delivery in deliveries:
            self._tasks.add(loop.create_task(self._arun(loop, delivery, context), context=context.copy()))

    async def _arun(self, loop: asyncio.AbstractEventLoop, delivery: Delivery, context: Context) -> None:
        """One job as a task of the event loop, which ends by starting that of the next one."""
        began = time.monotonic()
        self._end(await aattempt(delivery), time.monotonic() - began)
        self._tasks.discard(asyncio.current_task())
        following = self._next()
        if following is None:
            return
        if is_async(following.claim):
            self._start_tasks(loop, [following], context)
        else:
            self._launch(following)

    def _next(self) -> Delivery | None:
        """The job for the slot of one that has ended."""
        with self._turn:
            if self._waiting:
                self._moved = time.monotonic()
                return self._waiting.popleft()
            self._taken -= 1
            return None

    def _end(self, settlement: Settlement, seconds: float) -> None:
        self._ended.append((settlement, seconds))
        if len(self._waiting) <= self._few:
            self._bell.put(None)

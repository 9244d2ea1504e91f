"""A process that drives one queue: ``python -m tests.benchmarks.speed.agent producer|worker SETTING``.

A producer does what the lines of its input say, and answers each with its figures; a worker waits at the gate and works
until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from importlib import import_module
from typing import cast

from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.sides import Side
from tests.benchmarks.speed.starts import Starts

PAUSES = (0.005, 0.03)  # between two jobs that meet an idle worker


def main(role: str, text: str) -> None:
    setting = Setting(**json.loads(text))
    starts = Starts(setting.starts, setting.worker)
    module = import_module(f"tests.benchmarks.speed.sides.{setting.side}")
    side = cast(Side, module.SIDE(setting, starts))
    if role == "worker":
        side.work()
    else:
        _produce(Producer(side, starts))


class Producer:
    """What can be asked for; each answers with seconds, of all or of each."""

    def __init__(self, side: Side, starts: Starts) -> None:
        self._side = side
        self._starts = starts

    def install(self) -> float:
        start = time.perf_counter()
        self._side.install()
        return time.perf_counter() - start

    def enqueue(self, first: int, count: int) -> float:
        start = time.perf_counter()
        for number in range(first, first + count):
            self._side.enqueue(number)
        return time.perf_counter() - start

    def enqueue_in_bulk(self, first: int, count: int, each: int) -> float:
        """By ``each`` jobs to a commit."""
        start = time.perf_counter()
        for begin in range(first, first + count, each):
            self._side.enqueue_in_bulk(range(begin, min(begin + each, first + count)))
        return time.perf_counter() - start

    def enqueue_at_once(self, first: int, count: int, callers: int) -> float:
        """By that many coroutines, each of which waits until its job is committed before it enqueues the next."""
        return asyncio.run(self._at_once(range(first, first + count), callers))

    async def _at_once(self, numbers: range, callers: int) -> float:
        async def call(own: range) -> None:
            for number in own:
                await self._side.aenqueue(number)

        await self._side.aopen()
        start = time.perf_counter()
        await asyncio.gather(*(call(numbers[caller::callers]) for caller in range(callers)))
        return time.perf_counter() - start

    def latencies(self, first: int, count: int) -> list[float]:
        """From the call that enqueues to the start of the job, for one after the other."""
        found = []
        for number in range(first, first + count):
            since = time.monotonic_ns()
            self._side.enqueue(number)
            found.append((self._starts.wait_for(number) - since) / 1e9)
            time.sleep(random.uniform(*PAUSES))
        return found


def _produce(producer: Producer) -> None:
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(producer, what)(*arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What carriage costs: CPU of whole processes per message, publisher and worker, beside the bare library in one run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

import psutil
import redis

from tests.benchmarks.measure import Row, median
from tests.benchmarks.natives import LIBRARIES
from tests.services import REDIS

MESSAGES = 150
ROUNDS = 4  # as many as there are sides, so that each is the first once
# A process is faster or slower than its like by some percent for its life, by where it happens to lie in memory: more
# than carriage costs. What is said of one pair of processes is therefore one figure, however long it is measured, and
# the median of many pairs is what tells: of 24, with a spread of 4 %, it is right to within 1 % or so.
SETS = 12
SIDES = ("bare", "carried", "bare", "carried")
PAIRS = {"bare again": [(2, 0)], "carriage": [(1, 0), (3, 2)]}  # the first shows what is noise
PATIENCE = 120  # seconds
GOALS = {"Celery": 3.0, "Dramatiq": 5.0, "RQ": 3.0}


def carriage_cost(libraries: tuple[str, ...] = tuple(LIBRARIES)) -> Iterator[Row]:
    for library in libraries:
        for broker in LIBRARIES[library].brokers:
            yield from _compared(library, broker)


class Side:
    """A publisher and a worker, in processes of their own, on a queue of their own."""

    def __init__(self, library: str, broker: str, side: str) -> None:
        self.name = f"tjbench{uuid.uuid4().hex[:8]}"
        self._rest = (library, broker, self.name, side)
        self._store = redis.Redis.from_url(REDIS, socket_timeout=None)

    def __enter__(self) -> Side:
        self._worker = self._start("worker")
        self._publisher = self._start("publisher")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in (self._worker, self._publisher):  # which removes the queue, when nobody reads it any more
            if process is self._worker:
                process.terminate()
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for key in self._store.scan_iter(f"*{self.name}*"):
            self._store.delete(key)
        self._store.close()

    def cpu(self) -> float:
        """Microseconds for each message of a round."""
        before = self._used()
        self._publish(MESSAGES)
        return (self._used() - before) / MESSAGES * 1e6

    def warm_up(self) -> None:
        self._publish(MESSAGES)

    def _start(self, role: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.benchmarks.natives", role, *self._rest]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _publish(self, count: int) -> None:
        assert self._publisher.stdin is not None
        assert self._publisher.stdout is not None
        # The worker waits until all is there: how often it would wake up for nothing is a matter of chance.
        with _stopped(self._worker.pid):
            self._publisher.stdin.write(f"{count}\n")
            self._publisher.stdin.flush()
            self._publisher.stdout.readline()
        if self._store.blpop([f"{self.name}:mark"], timeout=PATIENCE) is None:
            raise TimeoutError(f"{self._rest}: {count} messages were not performed within {PATIENCE} s")

    def _used(self) -> float:
        return sum(_seconds(process.pid) for process in (self._publisher, self._worker))


def _compared(library: str, broker: str) -> Iterator[Row]:
    sets = [_rounds(library, broker) for _ in range(SETS)]
    for name, pairs in PAIRS.items():
        shares = [
            statistics.median((figures[index] / figures[base] - 1) * 100 for figures in rounds)
            for rounds in sets
            for index, base in pairs
        ]
        share, spread = median(shares)
        goal = GOALS[library] if name == "carriage" else None
        yield Row(
            name=f"{library} on {broker}: {name}, CPU of a message", value=share, unit="%", spread=spread, goal=goal
        )
    base, spread = median([figures[0] for rounds in sets for figures in rounds])
    yield Row(name=f"{library} on {broker}: bare, publish + run", value=base, unit="us", spread=spread)


def _rounds(library: str, broker: str) -> list[list[float]]:
    """The figures of one set of processes, round for round: whatever else a machine does meets all sides of a round."""
    with ExitStack() as stack:
        sides = [stack.enter_context(Side(library, broker, side)) for side in SIDES]
        for side in sides:
            side.warm_up()
        rounds = []
        for number in range(ROUNDS):
            first = number % len(sides)  # so that what drifts favours none of them
            taken = {side: side.cpu() for side in (*sides[first:], *sides[:first])}
            rounds.append([taken[side] for side in sides])
    return rounds


def _seconds(pid: int) -> float:
    """CPU that a process and its children have used, to the nanosecond for those that live."""
    process = psutil.Process(pid)
    ended = process.cpu_times()
    living = sum(_seconds(child.pid) for child in process.children())
    return time.clock_gettime((~pid << 3) | 2) + ended.children_user + ended.children_system + living


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.suspend()
    yield
    for each in family:
        each.resume()


def main() -> None:
    """``python -m tests.benchmarks.carriage Celery``: these rows alone."""
    for row in carriage_cost(tuple(sys.argv[1:]) or tuple(LIBRARIES)):
        print(f"{row.name:58} {row.value:>12,.2f} {row.unit:4} {row.spread:6,.2f} {row.verdict}", flush=True)


if __name__ == "__main__":
    main()

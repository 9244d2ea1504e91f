"""What is measured of a side, and in which turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from tests.benchmarks.speed.bench import POSTGRES, Bench, Producer, Workers, held_open, settle
from tests.benchmarks.speed.setting import Setting
from tests.benchmarks.speed.starts import rate

PATIENCE = 300.0  # seconds for what is measured
WARM = 50  # jobs before the clock runs
IDLE = 2.0  # seconds until a worker that has found nothing is idle
COMMIT = 1000  # jobs of a commit, in bulk
MILLISECONDS = 1e3
MEGABYTE = 2**20


class Taken(NamedTuple):
    """Figures by name, and how many processors others have used meanwhile."""

    figures: Mapping[str, float]
    noise: float


Measure = Callable[[Bench], Taken]
Round = Mapping[str, Taken]  # by the side that was measured


def in_turn(bench: Bench, rounds: int, measures: Mapping[str, Measure]) -> Iterator[Round]:
    """One after the other, again and again: whatever the machine does in the meantime, it does to all."""
    for _ in range(rounds):
        yield {name: measure(bench) for name, measure in measures.items()}


def drain(
    bench: Bench, setting: Setting, *, waiting: int, jobs: int | None = None, processes: int = 1, where: str = POSTGRES
) -> Taken:
    """How many jobs a second start, while the first ``jobs`` of those that wait are performed."""
    url = bench.empty(where)
    _fill(bench, setting, url, waiting, new=True)
    return _drained(bench, setting, url, waiting, jobs or waiting, processes)


def _fill(bench: Bench, setting: Setting, url: str, waiting: int, *, new: bool = False) -> None:
    with bench.starts(setting, url, 1) as (_, told), bench.producer(told) as ask:
        if new:
            ask("install")
        ask("enqueue_in_bulk", 0, waiting, COMMIT)
    settle(url)


def _drained(bench: Bench, setting: Setting, url: str, waiting: int, jobs: int, processes: int = 1) -> Taken:
    with bench.starts(setting, url, waiting) as (starts, told), bench.workers(told, processes) as workers:
        starts.await_ready(processes, workers.alive)
        noise = bench.noise()
        starts.open_the_gate()
        began = starts.wait_for_any(jobs, workers.alive, PATIENCE)
        return Taken({"rate": rate(began)}, noise.processors())


def enqueue(
    bench: Bench, setting: Setting, *, jobs: int, how: str = "enqueue", by: tuple[int, ...] = (), where: str = POSTGRES
) -> Taken:
    """How many jobs a second are committed; ``how`` is a method of the producer, and ``by`` what it wants to know."""
    with bench.starts(setting, bench.empty(where), 1) as (_, told), bench.producer(told) as ask:
        ask("install")
        ask(how, 0, WARM, *by)
        noise = bench.noise()
        seconds = ask(how, WARM, jobs, *by)
        return Taken({"rate": jobs / seconds}, noise.processors())


def latency(bench: Bench, setting: Setting, *, jobs: int, where: str = POSTGRES) -> Taken:
    """Milliseconds from the call that enqueues to the start of the job in another process, which was idle."""
    with _idle(bench, setting, where, jobs) as (ask, _):
        noise = bench.noise()
        found = [seconds * MILLISECONDS for seconds in ask("latencies", WARM, jobs)]
        return Taken({"p50": statistics.median(found), "p99": percentile(found, 0.99)}, noise.processors())


def memory(bench: Bench, setting: Setting, *, where: str = POSTGRES) -> Taken:
    """Resident megabytes of an idle worker that has performed a few jobs."""
    with _idle(bench, setting, where, 0) as (_, workers):
        noise = bench.noise()
        return Taken({"resident": workers.resident() / MEGABYTE}, noise.processors())


@contextmanager
def _idle(bench: Bench, setting: Setting, where: str, jobs: int) -> Iterator[tuple[Producer, Workers]]:
    """A producer, and a worker that has performed ``WARM`` jobs and has nothing to do."""
    with bench.starts(setting, bench.empty(where), WARM + jobs) as (starts, told), bench.producer(told) as ask:
        ask("install")
        with bench.workers(told, 1) as workers:
            starts.await_ready(1, workers.alive)
            starts.open_the_gate()
            ask("latencies", 0, WARM)
            time.sleep(IDLE)
            yield ask, workers


def backlog(bench: Bench, rounds: int, setting: Setting, *, waiting: int, tenants: int, jobs: int) -> Iterator[Round]:
    """``deep``: with so many jobs waiting of so many tenants, which are enqueued once. ``shallow``: the same few."""
    many, url = replace(setting, tenants=tenants), bench.kept("backlog")
    _fill(bench, many, url, waiting, new=True)
    for _ in range(rounds):
        yield {
            "deep": _drained(bench, many, url, waiting, jobs),
            "shallow": drain(bench, setting, waiting=jobs),
        }


def held(bench: Bench, rounds: int, setting: Setting, *, seconds: float, jobs: int) -> Iterator[Round]:
    """``held``: after that long under an open transaction, while jobs came and went. ``shallow``: without one."""
    url = bench.kept("held")
    _fill(bench, setting, url, 1, new=True)
    with held_open(url):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            _refilled(bench, setting, url, jobs)
        for _ in range(rounds):
            yield {
                "held": _refilled(bench, setting, url, jobs),
                "shallow": drain(bench, setting, waiting=jobs),
            }


def _refilled(bench: Bench, setting: Setting, url: str, jobs: int) -> Taken:
    _fill(bench, setting, url, jobs)
    return _drained(bench, setting, url, jobs, jobs)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]

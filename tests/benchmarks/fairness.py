"""How fair the database queue is: the goals G1 to G12, on the real queue with real workers.

``python -m tests.benchmarks.fairness`` takes some minutes, at a scale that it prints; ``--scale 1`` has as many rows
as the goals name, and takes as long as it takes. Each goal is measured ``--runs`` times, with other random lengths and
pauses, and the worst figure counts. Goals that are named are measured alone: ``... fairness G5 G6``. The database is a
new one on the PostgreSQL server of the tests.

A wait is from the commit of the enqueue to the start of the job. The workers are threads of this process, which jobs
that sleep do not mind, and look for work every ten milliseconds; nobody wakes them.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, delete, text, update

from tenantjobs import Current, adapter, current_job, job, perform_all_later, testing
from tenantjobs.adapter import WorkOptions
from tenantjobs_db import schema, tables
from tenantjobs_db.adapter import DatabaseAdapter
from tenantjobs_db.consumer import Consumer
from tenantjobs_db.database import Database
from tenantjobs_db.exchange_at_once import SetBasedExchange, done, done_one, settling_and_claiming
from tenantjobs_db.heads import NOT_PAUSED, taken
from tenantjobs_db.processes import Processes
from tenantjobs_db.rooms import Rooms
from tenantjobs_db.selection import Selection
from tenantjobs_db.settlement import Claimed, Finish
from tenantjobs_db.worker import Worker
from tests.benchmarks.measure import Row
from tests.services import fresh_postgres

SLOTS = 16
SERVICE = 0.05  # seconds of a job, on average; exponentially distributed
LONG = 10.0  # seconds of a noisy job of G4
WARM = 0.5
EACH = 300  # jobs of each tenant that has work all the time; workers deal for themselves, and a few are between them
MILLISECONDS = 1000

over = threading.Event()
started: dict[str, float] = {}
ended: list[float] = []
order: list[str] = []
lasted: dict[str, float] = {}


@job(name="fairness.work", tenancy="required")
def work(seconds: float) -> None:
    started[current_job().id] = time.time()
    order.append(str(Current.tenant_id))
    over.wait(seconds)
    ended.append(time.time())
    lasted[current_job().id] = ended[-1] - started[current_job().id]


class Bench:
    """A queue of its own, and what is done to it."""

    def __init__(self, queue: DatabaseAdapter, scale: float) -> None:
        self.queue = queue
        self.database: Database = queue.database
        self.scale = scale
        self.random = random.Random()

    def rows(self, full: int) -> int:
        return max(1000, int(full * self.scale))

    def clear(self) -> None:
        with self.database.begin() as connection:
            for table in (tables.jobs, tables.controls, tables.blocked, tables.processes, tables.serving):
                connection.execute(delete(table))
        if self.database.dialect.name == "postgresql":
            with self.database.autocommit() as connection:
                connection.execute(text("VACUUM ANALYZE tj_jobs"))
        for record in (started, ended, order, lasted):
            record.clear()
        over.clear()

    def service(self) -> float:
        return self.random.expovariate(1 / SERVICE)

    def enqueue(self, tenant: str, count: int, seconds: Callable[[], float] | float | None = None) -> list[str]:
        """Jobs of one tenant, by one transaction; their ids."""
        chosen = self.service if seconds is None else seconds
        with Current.set(tenant_id=tenant):
            calls = [work.call(chosen if isinstance(chosen, float) else chosen()) for _ in range(count)]
            return [handle.job_id for handle in perform_all_later(calls)]

    def insert(self, connection: Connection, tenants: int, each: int, name: str = "noop", prefix: str = "t") -> None:
        """Rows that are claimed and not performed, by the database itself."""
        connection.execute(
            text(f"""
                INSERT INTO tj_jobs (id, queue, tenant, name, priority, state, attempt, enqueued_at, data)
                SELECT '{prefix}-' || n, 'default', '{prefix}' || n % {tenants}, '{name}', 0, 'ready', 0,
                    CURRENT_TIMESTAMP, '{{}}'
                FROM generate_series(1, {tenants * each}) AS n
            """)
        )

    @contextmanager
    def workers(self, processes: int = 2) -> Iterator[None]:
        """Workers with ``SLOTS`` slots between them."""
        options = WorkOptions(threads=SLOTS // processes, polling_interval=0.01, shutdown_timeout=5)
        workers = [Worker(self.database, self.queue.settings, options) for _ in range(processes)]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for worker in workers:
                worker.stop()
            for thread in threads:
                thread.join()

    def claimer(self) -> Consumer:
        return Consumer(self.database, Selection(["*"]))

    def process(self) -> str:
        return Processes(self.database, lease=600.0, max_deaths=3).register("bench")


def until(reached: Callable[[], bool], seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > limit:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.005)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def jain(shares: Sequence[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


# Waits of small tenants beside a flood


def _all_small_at_once(bench: Bench, noisy: int) -> list[float]:
    bench.clear()
    if noisy:
        bench.enqueue("noisy", noisy)
    ids = [job_id for number in range(99) for job_id in bench.enqueue(f"small-{number:02}", 10)]
    since = time.time()
    with bench.workers():
        until(lambda: all(job_id in started for job_id in ids))
    return [started[job_id] - since for job_id in ids]


def g1(bench: Bench) -> Iterator[Row]:
    alone, beside = _all_small_at_once(bench, 0), _all_small_at_once(bench, bench.rows(100_000))
    p99 = percentile(beside, 0.99) / percentile(alone, 0.99)
    yield Row(name="G1 990 small jobs beside a flood: p99 / p99 without it", value=p99, unit="", spread=0, goal=1.10)
    yield Row(name="G1 the same, longest", value=max(beside) / max(alone), unit="", spread=0, goal=1.25)


def _arrivals(bench: Bench, *, noisy: float | None, burst: int, arrivals: int, pause: float) -> list[float]:
    """The waits of small jobs that come now and then, while jobs of ``noisy`` seconds take all they get."""
    bench.clear()
    if noisy is not None:
        seconds = (lambda: bench.random.expovariate(1 / SERVICE)) if noisy == SERVICE else noisy
        bench.enqueue("noisy", bench.rows(100_000) if noisy == SERVICE else 200, seconds)
    committed: dict[str, float] = {}
    with bench.workers():
        # The first one after a time alone waits for a slot once: it is not measured, and puts the reserve in force.
        first = bench.enqueue("small-00", 1, 0.001)
        until(lambda: first[0] in started)
        time.sleep(3 * WARM if noisy != LONG else LONG + WARM)
        for number in range(arrivals):
            ids = bench.enqueue(f"small-{number % 99:02}", burst)
            committed |= dict.fromkeys(ids, time.time())
            time.sleep(bench.random.expovariate(1 / pause))
        until(lambda: all(job_id in started for job_id in committed))
    return [max(0.0, started[job_id] - at) for job_id, at in committed.items()]


def _beside_idle(bench: Bench, name: str, goal: float, *, noisy: float, burst: int, pause: float) -> Iterator[Row]:
    idle = _arrivals(bench, noisy=None, burst=burst, arrivals=60, pause=pause)
    waits = _arrivals(bench, noisy=noisy, burst=burst, arrivals=60, pause=pause)
    more = (percentile(waits, 0.99) - percentile(idle, 0.99)) * MILLISECONDS
    p50 = statistics.median(waits) * MILLISECONDS
    yield Row(name=f"{name}: p99 over idle", value=more, unit="ms", spread=0, goal=goal * MILLISECONDS)
    yield Row(name=f"{name}: p50", value=p50, unit="ms", spread=0)


def g2(bench: Bench) -> Iterator[Row]:
    yield from _beside_idle(bench, "G2 single jobs", 0.2 * SERVICE, noisy=SERVICE, burst=1, pause=0.1)


def g3(bench: Bench) -> Iterator[Row]:
    yield from _beside_idle(bench, "G3 bursts of ten", 2 * SERVICE, noisy=SERVICE, burst=10, pause=0.2)


def g4(bench: Bench) -> Iterator[Row]:
    yield from _beside_idle(bench, f"G4 single jobs beside some of {LONG:g} s", 1.0, noisy=LONG, burst=1, pause=0.1)


# Shares of tenants that all have work


def _dealt(bench: Bench, tenants: int, each: int, weight: Callable[[int], int], seconds: float) -> list[float]:
    """What each tenant has had for its weight, while all of them still had work."""
    bench.clear()
    for number in range(tenants):
        bench.enqueue(f"t{number:02}", each * weight(number) * 2, seconds)
        if weight(number) != 1:
            bench.queue.controls.set_weight(f"t{number:02}", weight(number))
    wanted = sum(each * weight(number) for number in range(tenants))
    with bench.workers():
        until(lambda: len(order) >= wanted)
    had = Counter(order[:wanted])
    return [had[f"t{number:02}"] / weight(number) for number in range(tenants)]


def _shares(name: str, shares: Sequence[float], goal: float | None = 0.98) -> Iterator[Row]:
    noise = "" if len(shares) < 2 else f" of {len(shares)} tenants"
    index = jain(shares)
    yield Row(name=f"{name}{noise}: Jain's index", value=index, unit="", spread=0, goal=0.999, more_is_better=True)
    least = min(shares) / max(shares)
    yield Row(name=f"{name}: least share / most", value=least, unit="", spread=0, goal=goal, more_is_better=True)


def g5(bench: Bench) -> Iterator[Row]:
    shares = _dealt(bench, 20, EACH, lambda _: 1, 0.02)
    yield from _shares("G5 equal weights", shares)
    # All tenants have work to the end: whoever starts takes the slot that has been free for longest.
    gaps = [start - end for start, end in zip(sorted(started.values())[SLOTS:], sorted(ended), strict=False)]
    gaps = gaps[: 20 * EACH - 100]
    late = 100 * sum(gap > 0.05 for gap in gaps) / len(gaps)
    yield Row(name="G12 slots that were free for more than 50 ms", value=late, unit="%", spread=0, goal=0.1)
    p99 = percentile(gaps, 0.99) * MILLISECONDS
    yield Row(name="G12 how long a slot is free: p99", value=p99, unit="ms", spread=0)


def g6(bench: Bench) -> Iterator[Row]:
    shares = _dealt(bench, 8, EACH, lambda number: number % 4 + 1, 0.02)
    yield from _shares("G6 weights 1 to 4", shares, goal=None)


def g7(bench: Bench) -> Iterator[Row]:
    """Half of the tenants have jobs that are ten times longer, and get no more of the slots for that."""
    length = {f"t{number:02}": 0.01 if number % 2 else 0.1 for number in range(10)}
    for workers in (2, 4):
        bench.clear()
        ids = {tenant: bench.enqueue(tenant, 400, seconds) for tenant, seconds in length.items()}
        with bench.workers(workers):
            until(lambda: len(lasted) >= 2000)
            had = dict(lasted)
        times = [[had[job_id] for job_id in ids[tenant] if job_id in had] for tenant in length]
        name = f"G7 slots' time of {workers} workers, half with jobs ten times longer: Jain's index"
        floor = _noise_floor(times)
        index = jain([sum(each) for each in times])
        yield Row(name=name, value=index, unit="", spread=0, goal=round(floor - 0.02, 3), more_is_better=True)
        yield Row(name="G7 the same, if all that is uneven were the lengths of jobs", value=floor, unit="", spread=0)


def _noise_floor(times: Sequence[Sequence[float]]) -> float:
    """Jain's index of tenants that are served alike, for jobs that vary as much as these."""
    varying = [statistics.pvariance(each) / statistics.fmean(each) ** 2 / len(each) for each in times]
    return 1 / (1 + statistics.fmean(varying))


def g8(bench: Bench) -> Iterator[Row]:
    """A tenant that has taken back all of a large backlog owes nothing for it."""
    bench.clear()
    with bench.database.begin() as connection:
        bench.insert(connection, 1, bench.rows(100_000), prefix="noisy")
        bench.insert(connection, 9, 100)
        connection.execute(
            update(tables.jobs).where(tables.jobs.c.tenant == "noisy0").values(state="discarded", reason="cancelled")
        )
        connection.execute(text("UPDATE tj_jobs SET state = 'ready' WHERE id = 'noisy-1'"))
    consumer, process = bench.claimer(), bench.process()
    place = 1
    while consumer.exchange(process, (), 1).claimed[0].tenant != "noisy0":
        place += 1
    yield Row(name="G8 place of a job after its tenant has cancelled a flood", value=place, unit="", spread=0, goal=11)


# What a claim costs


def _claims(bench: Bench, count: int = 300, wanted: int = 1) -> list[float]:
    """Seconds of each claim, which finishes what the one before has claimed."""
    consumer, process = bench.claimer(), bench.process()
    claims: list[Claimed] = consumer.exchange(process, (), wanted).claimed
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        claims = consumer.exchange(process, [Finish(claim) for claim in claims], wanted).claimed
        seconds.append(time.perf_counter() - start)
    return seconds


def _filled(bench: Bench, tenants: int, each: int) -> None:
    bench.clear()
    with bench.database.begin() as connection:
        bench.insert(connection, tenants, each)
    with bench.database.autocommit() as connection:
        connection.execute(text("VACUUM ANALYZE tj_jobs"))


def g9(bench: Bench) -> Iterator[Row]:
    _filled(bench, 100, 100)
    few = statistics.median(_claims(bench))
    tenants, each = max(1000, int(100_000 * bench.scale)), 100
    _filled(bench, tenants, each)
    many = statistics.median(_claims(bench))
    name = f"G9 claim and finish, {tenants * each:,} jobs of {tenants:,} / 10,000 of 100: p50"
    yield Row(name=name, value=many / few, unit="", spread=0, goal=2.5)
    yield Row(name="G9 the same, in figures", value=many * 1e6, unit="us", spread=0)


def g10(bench: Bench) -> Iterator[Row]:
    _filled(bench, 100, 100)
    bare = statistics.median(_claims(bench))
    paused = bench.rows(400_000)
    for kind, name in (("tenant", "paused0"), ("job", work.name)):
        bench.clear()
        with bench.database.begin() as connection:
            bench.insert(connection, 1, paused, name=work.name, prefix="paused")
        bench.queue.controls.pause(kind, name)  # type: ignore[arg-type]  # both are kinds
        if kind == "job":
            start = time.perf_counter()
            consumer, process = bench.claimer(), bench.process()
            while bench.queue.queue.ready_queues():
                consumer.exchange(process, [], 1)
            each = (time.perf_counter() - start) / paused * 1e6
            yield Row(name="G10 a job of a paused class, put aside once", value=each, unit="us", spread=0)
        with bench.database.begin() as connection:
            bench.insert(connection, 100, 100)
        with bench.database.autocommit() as connection:
            connection.execute(text("VACUUM ANALYZE tj_jobs"))
        value = statistics.median(_claims(bench)) / bare
        yield Row(name=f"G10 {paused:,} jobs of a paused {kind}: p50 / none", value=value, unit="", spread=0, goal=1.5)


def g11(bench: Bench) -> Iterator[Row]:
    """The rate of enqueuing, claiming and finishing, beside statements that differ in nothing but whom they take."""
    for wanted, goal in ((1, 0.9), (10, 0.75), (100, 0.75)):
        name = f"G11 enqueue, claim and finish by {wanted}: rate / first in, first out"
        yield Row(name=name, value=_rate(bench, wanted), unit="", spread=0, goal=goal, more_is_better=True)
        name = "G11 the same without enqueuing"
        yield Row(name=name, value=_rate(bench, wanted, enqueues=False), unit="", spread=0)
        with _not_waiting_for_disks(bench):
            rate = _rate(bench, wanted, enqueues=False)
        yield Row(name="G11 and without waiting for the disk", value=rate, unit="", spread=0)
    fair, first = (statistics.median(_one_at_a_time(bench, turns)) for turns in (True, False))
    name = "G11 enqueue, claim and finish of a job that is alone: rate / first in, first out"
    yield Row(name=name, value=first / fair, unit="", spread=0, goal=0.95, more_is_better=True)


# Finishes jobs, and claims so many.
Exchanging = Callable[[Sequence[Finish], int], list[Claimed]]


def _rate(bench: Bench, wanted: int, *, enqueues: bool = True) -> float:
    fair, first = (statistics.median(_exchanges(bench, wanted, turns, enqueues)) for turns in (True, False))
    return first / fair


def _exchanges(bench: Bench, wanted: int, turns: bool, enqueues: bool) -> list[float]:
    """Seconds of each exchange, with 40,000 jobs of 100 tenants waiting."""
    _filled(bench, 100, 400)
    with _by_turns(bench) if turns else _first_in_first_out(bench) as exchange:
        claims = exchange((), wanted)
        seconds = []
        for number in range(400 if wanted == 1 else 150):
            start = time.perf_counter()
            if enqueues:
                bench.enqueue(f"t{number % 100}", wanted, 0.0)
            claims = exchange([Finish(claim) for claim in claims], wanted)
            seconds.append(time.perf_counter() - start)
    return seconds


def _one_at_a_time(bench: Bench, turns: bool, count: int = 300) -> list[float]:
    """Seconds of each job that is enqueued into an empty queue, and claimed by what finishes the one before it."""
    bench.clear()
    with _by_turns(bench) if turns else _first_in_first_out(bench) as exchange:
        claims: list[Claimed] = []
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            bench.enqueue("alone", 1, 0.0)
            claims = exchange([Finish(claim) for claim in claims], 1)
            seconds.append(time.perf_counter() - start)
    return seconds


@contextmanager
def _by_turns(bench: Bench) -> Iterator[Exchanging]:
    """What a worker does."""
    consumer, process = bench.claimer(), bench.process()
    yield lambda finishes, wanted: consumer.exchange(process, finishes, wanted).claimed


FIRST = """
    heads AS (
        SELECT ctid FROM tj_jobs WHERE state = 'ready' AND queue = :queue
        ORDER BY priority, id LIMIT :wanted FOR UPDATE SKIP LOCKED
    )
"""
OWN_INDEX = "CREATE INDEX tj_jobs_ready ON tj_jobs (queue, tenant, priority, id) WHERE state = 'ready'"
INDEX_OF_FIRST = "CREATE INDEX tj_jobs_ready ON tj_jobs (queue, priority, id) WHERE state = 'ready'"


@contextmanager
def _first_in_first_out(bench: Bench) -> Iterator[Exchanging]:
    """One that knows no tenants, with the index that it needs and not ours: the same statements on the same way to the
    server, and nothing of what a worker does beside them.
    """
    one, several = (
        bench.database.prepared(settling_and_claiming(FIRST, taken(NOT_PAUSED), half(keep_finished=True)))
        for half in (done_one, done)
    )
    assert one is not None
    assert several is not None
    exchange, process, rooms = SetBasedExchange(one, several, several), bench.process(), Rooms()
    _index(bench, "DROP INDEX tj_jobs_ready", INDEX_OF_FIRST)
    try:
        yield lambda finishes, wanted: exchange(process, finishes, "default", "", wanted, rooms)[0]
    finally:
        _index(bench, "DROP INDEX tj_jobs_ready", OWN_INDEX)


@contextmanager
def _not_waiting_for_disks(bench: Bench) -> Iterator[None]:
    _connected_anew(bench, "SET synchronous_commit = off")
    try:
        yield
    finally:
        _connected_anew(bench, "RESET synchronous_commit")


def _connected_anew(bench: Bench, setting: str) -> None:
    with bench.database.autocommit() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} {setting}"))
    bench.database.close()


def _index(bench: Bench, *statements: str) -> None:
    with bench.database.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


GOALS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "G1": g1,
    "G2": g2,
    "G3": g3,
    "G4": g4,
    "G5": g5,
    "G6": g6,
    "G7": g7,
    "G8": g8,
    "G9": g9,
    "G10": g10,
    "G11": g11,
}
ALONE = {"G12": "G5"}  # what is measured beside another one


def main(arguments: Sequence[str]) -> int:
    options = argparse.ArgumentParser(description="Measure how fair the database queue is.")
    options.add_argument("--scale", type=float, default=0.05, help="of the rows that the goals name")
    options.add_argument("--runs", type=int, default=1, help="of each goal, of which the worst counts")
    options.add_argument("goals", nargs="*", help="G1 to G12; all of them unless some are named")
    chosen = options.parse_args(arguments)
    names = list(dict.fromkeys(ALONE.get(name, name) for name in chosen.goals)) or list(GOALS)
    if unknown := set(names) - set(GOALS):
        sys.exit(f"there is no goal {', '.join(sorted(unknown))}: name some of {', '.join(GOALS)}, or none for all")
    print(f"{SLOTS} slots of 2 workers, jobs of {SERVICE:g} s, floods at {chosen.scale:g} of the size of the goals")
    print(f"the worst of {chosen.runs}, and how far from the best of them\n")
    missed = False
    with (
        fresh_postgres(durable=True) as url,
        testing.override(adapter="db", tenancy="required", db={"url": url}),
    ):
        queue = adapter.configured()
        assert isinstance(queue, DatabaseAdapter)
        schema.upgrade(queue.database.engine)
        bench = Bench(queue, chosen.scale)
        for name in names:
            for row in _worst(bench, GOALS[name], chosen.runs):
                goal = "" if row.goal is None else f"{'>=' if row.more_is_better else '<='} {row.goal:g} {row.verdict}"
                print(f"{row.name:82} {row.value:>10,.3f} {row.unit:3} {row.spread:>8,.3f}  {goal}", flush=True)
                missed = missed or row.verdict == "MISSED"
        queue.close()
    return int(missed)


def _worst(bench: Bench, measure: Callable[[Bench], Iterator[Row]], runs: int) -> Iterator[Row]:
    measured = []
    for number in range(runs):
        bench.random.seed(7 + number)
        measured.append(list(measure(bench)))
    for rows in zip(*measured, strict=True):
        values = [row.value for row in rows]
        worst = min(rows, key=lambda row: row.value if row.more_is_better else -row.value)
        yield msgspec.structs.replace(worst, spread=max(values) - min(values))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
